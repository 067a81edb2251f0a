"""What tests ask of the session host, in WHARF_TEST_FAULTS: {"host": {"crash_at": [["after_wire", 1]], "mutant": "cut-open"}}."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from core.faults import allowed, asked


@dataclass(frozen=True, slots=True)
class HostFaults:
    """`arguments` for its command line; `crash_at` are points (connectors/go/internal/host/switches.go) and passages."""

    arguments: tuple[str, ...] = ()
    crash_at: tuple[tuple[str, int], ...] = ()


def host_faults_from(environ: Mapping[str, str]) -> HostFaults:
    if not allowed(environ):
        return HostFaults()
    host = asked(environ).get("host", {})
    mutant = ("--mutant", host["mutant"]) if "mutant" in host else ()
    return HostFaults(
        ("--allow-crash", *mutant), tuple((point, int(passage)) for point, passage in host.get("crash_at", ()))
    )
