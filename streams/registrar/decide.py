"""The decision on a control request: pure, over the instance as it is now.

Compare-and-set: a request with `expected_version` is refused when the instance has another one (0 = there is none), so
of two who read the same version only one writes. A change that changes nothing is accepted and writes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from streams.registrar.validation import CREATE_ONLY, Problem, Record, problem_of, wrong


@dataclass(frozen=True, slots=True)
class Decision:
    """`instance` is what is to be written, None when nothing is; `version` is the instance's afterwards."""

    problem: Problem | None
    instance: Record | None
    version: int | None

    @property
    def accepted(self) -> bool:
        return self.problem is None


def decide(current: Record | None, request: Record, now_ms: int, *, simulator_enabled: bool) -> Decision:
    """`current` is the instance as last written, its `deleted` record included; None when there is none."""
    version = None if current is None else current["version"]
    problem = problem_of(request, simulator_enabled=simulator_enabled)
    if problem is not None:
        return Decision(problem, None, version)
    expected = request["expected_version"]
    if expected is not None and expected != (version or 0):
        text = f"expected version {expected}, the instance has {version or 'none'}"
        return Decision(Problem("api.conflict", text, "expected_version"), None, version)
    exists = current is not None and current["desired"] != "deleted"
    if request["kind"] == "instance_create":
        if exists:
            text = f"there is an instance {request['instance_id']} already"
            return Decision(Problem("api.conflict", text, "instance_id"), None, version)
        return _created(current, request, now_ms)
    if current is None or not exists:
        text = f"there is no instance {request['instance_id']}"
        return Decision(Problem("api.not_found", text, "instance_id"), None, version)
    return _changed(current, request, now_ms)


def _created(former: Record | None, request: Record, now_ms: int) -> Decision:
    body = request["body"] or {}
    generation = now_ms
    version = 1
    if former is not None:
        # A clock that was set back must not give two instances one generation.
        generation = max(now_ms, former["generation"] + 1)
        version = former["version"] + 1
    instance = {
        "instance_id": request["instance_id"],
        "generation": generation,
        "version": version,
        "desired": body.get("desired") or "online",
        "driver": body.get("driver") or "whatsmeow",
        "tier": body.get("tier") or "standard",
        "proxy": body.get("proxy") or None,
        "tenant": body.get("tenant"),
        "simulated": bool(body.get("simulated")),
        "limits": body.get("limits") or {"mode": "default", "overrides": {}},
        "settings": body.get("settings") or {},
        "label": body.get("label") or None,
        "updated_at": now_ms,
        "requested_by": request["requested_by"],
        "data_key_rotation": body.get("data_key_rotation"),
    }
    return Decision(None, instance, version)


def _changed(current: Record, request: Record, now_ms: int) -> Decision:
    if request["kind"] == "instance_delete":
        wanted: Record = {"desired": "deleted"}
    else:
        wanted = {name: value for name, value in (request["body"] or {}).items() if value is not None}
        if not wanted:
            return Decision(wrong("body", "changes nothing: no field is set"), None, current["version"])
        for name in CREATE_ONLY:
            if name in wanted and wanted[name] != current[name]:
                return Decision(wrong(f"body.{name}", "cannot be changed"), None, current["version"])
        # An empty text removes what may be absent.
        wanted |= {name: None for name in ("proxy", "label") if wanted.get(name) == ""}
    if all(current[name] == value for name, value in wanted.items()):
        return Decision(None, None, current["version"])
    version = current["version"] + 1
    stamp = {"version": version, "updated_at": now_ms, "requested_by": request["requested_by"]}
    return Decision(None, {**current, **wanted, **stamp}, version)
