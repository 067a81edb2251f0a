"""What a control request must look like: the first thing that is wrong, by code and field. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeAlias
from urllib.parse import urlsplit

Record: TypeAlias = dict[str, Any]

KINDS: Final = ("instance_create", "instance_change", "instance_delete")
DRIVERS: Final = ("whatsmeow",)
TIERS: Final = ("free", "standard", "business", "unlimited")
OVERRIDES: Final = ("interval_ms",)
# Settings of the drivers: what a value must look like.
_SWITCH = re.compile(r"true|false")
SETTINGS: Final = {
    "active_receipts": _SWITCH,
    "keep_raw": _SWITCH,
    "device_name": re.compile(r"[^\x00-\x1f\x7f]{1,64}"),
}
MAX_ID: Final = 128
MAX_INTERVAL_MS: Final = 3_600_000
MAX_URL: Final = 512
# They make an instance what it is; a change may only repeat them.
CREATE_ONLY: Final = ("driver", "tenant", "simulated")

_SLUG = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_PROXY_SCHEMES = ("http", "https", "socks5")


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a request is refused: a code of the catalogue, a text for people, the field that is wrong."""

    code: str
    message: str
    field: str | None = None


def wrong(field: str, message: str) -> Problem:
    return Problem("api.validation", f"{field} {message}", field)


def is_slug(value: Any) -> bool:
    return isinstance(value, str) and _SLUG.fullmatch(value) is not None


def is_id(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= MAX_ID and value.isprintable()


def identity_problem(request: Record) -> Problem | None:
    """What is wrong with the names of a request; without them it cannot be remembered."""
    if not is_id(request["request_id"]):
        return wrong("request_id", f"must be 1 to {MAX_ID} printable characters")
    if not is_slug(request["instance_id"]):
        return wrong("instance_id", "must be a slug: a-z, 0-9, _ and -, at most 63, not beginning with _ or -")
    return None


def problem_of(request: Record, *, simulator_enabled: bool) -> Problem | None:
    """The first thing that is wrong whatever the instance is."""
    if request["kind"] not in KINDS:
        return wrong("kind", f"must be one of {', '.join(KINDS)}")
    if not is_id(request["requested_by"]):
        return wrong("requested_by", f"must be 1 to {MAX_ID} printable characters")
    expected = request["expected_version"]
    if expected is not None and expected < 0:
        return wrong("expected_version", "must not be negative")
    body = request["body"] or {}
    if request["kind"] == "instance_delete" and any(value is not None for value in body.values()):
        return wrong("body", "has no meaning in a deletion")
    for name, check in _FIELDS.items():
        if body.get(name) is not None and (problem := check(body[name], f"body.{name}")):
            return problem
    if body.get("simulated") and not simulator_enabled:
        return wrong("body.simulated", "needs simulator.enabled in the settings of the registrar")
    return None


def _desired(value: str, field: str) -> Problem | None:
    if value == "deleted":
        return wrong(field, "is not set to deleted, send an instance_delete request")
    return None if value in ("online", "stopped") else wrong(field, "must be one of online, stopped")


def _driver(value: str, field: str) -> Problem | None:
    return None if value in DRIVERS else wrong(field, f"must be one of {', '.join(DRIVERS)}")


def _tier(value: str, field: str) -> Problem | None:
    return None if value in TIERS else wrong(field, f"must be one of {', '.join(TIERS)}")


def _proxy(value: str, field: str) -> Problem | None:
    if not value:
        return None
    if len(value) > MAX_URL or not value.isprintable():
        return wrong(field, f"must be a URL of at most {MAX_URL} printable characters")
    try:
        parts = urlsplit(value)
        good = parts.scheme in _PROXY_SCHEMES and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError as cause:
        return wrong(field, f"is no URL: {cause}")
    return None if good else wrong(field, f"must be a URL with a host and one of {', '.join(_PROXY_SCHEMES)}")


def _name(value: str, field: str) -> Problem | None:
    return None if is_id(value) else wrong(field, f"must be 1 to {MAX_ID} printable characters")


def _label(value: str, field: str) -> Problem | None:
    return None if not value else _name(value, field)


def _simulated(_value: bool, _field: str) -> Problem | None:
    return None


def _limits(value: Record, field: str) -> Problem | None:
    mode, overrides = value["mode"], value["overrides"]
    if mode not in ("default", "off", "custom"):
        return wrong(f"{field}.mode", "must be one of default, off, custom")
    if mode != "custom":
        return wrong(f"{field}.overrides", "are for the mode custom only") if overrides else None
    for name, text in overrides.items():
        if name not in OVERRIDES:
            return wrong(f"{field}.overrides.{name[:MAX_ID]}", f"is not known, there is {', '.join(OVERRIDES)}")
        if not (text.isascii() and text.isdecimal() and len(text) <= 9 and int(text) <= MAX_INTERVAL_MS):
            return wrong(f"{field}.overrides.{name}", f"must be a number of milliseconds up to {MAX_INTERVAL_MS}")
    return None if overrides else wrong(f"{field}.overrides", "are needed with the mode custom")


def _settings(value: dict[str, str], field: str) -> Problem | None:
    for name, text in value.items():
        if name not in SETTINGS:
            return wrong(f"{field}.{name[:MAX_ID]}", f"is not known, there are {', '.join(SETTINGS)}")
        if not SETTINGS[name].fullmatch(text):
            return wrong(f"{field}.{name}", f"does not fit {SETTINGS[name].pattern}")
    return None


_FIELDS: dict[str, Callable[[Any, str], Problem | None]] = {
    "desired": _desired,
    "driver": _driver,
    "tier": _tier,
    "proxy": _proxy,
    "tenant": _name,
    "simulated": _simulated,
    "limits": _limits,
    "settings": _settings,
    "label": _label,
    "data_key_rotation": _name,
}
