"""Faults that tests inject into the connector; none unless WHARF_ALLOW_FAULTS=1.

`WHARF_TEST_FAULTS` is JSON, shared with the loop's own (core.kafka.faults):
{"connector_crash": {"point": "after_sending", "nth": 1},
 "host": {"crash_at": [["after_ratchet", 1]], "mutant": "no-ratchet-lock"}}
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

# after_queued: QUEUED is committed, the host not told. after_sending: SENDING is committed, Durable not told.
# before_durable: something of the host is committed, Durable not told. after_durable: told. after_final: a final is.
Point = Literal["after_queued", "after_sending", "before_durable", "after_durable", "after_final", "before_open"]


@dataclass(slots=True)
class ConnectorFaults:
    crash_point: Point | None = None
    crash_nth: int = 1
    host_arguments: tuple[str, ...] = ()
    host_crash_at: tuple[tuple[str, int], ...] = ()

    def reach(self, point: Point) -> None:
        if self.crash_point != point:
            return
        self.crash_nth -= 1
        if self.crash_nth == 0:
            os.kill(os.getpid(), signal.SIGKILL)


def faults_from(environ: Mapping[str, str]) -> ConnectorFaults:
    text = environ.get("WHARF_TEST_FAULTS")
    if environ.get("WHARF_ALLOW_FAULTS") != "1":
        return ConnectorFaults()
    given = json.loads(text) if text else {}
    crash = given.get("connector_crash")
    if crash is not None and crash["point"] not in get_args(Point):
        raise ValueError(f"no such point: {crash['point']}")
    host = given.get("host", {})
    arguments = ["--allow-crash"]
    if "mutant" in host:
        arguments += ["--mutant", host["mutant"]]
    return ConnectorFaults(
        crash_point=crash["point"] if crash else None,
        crash_nth=int(crash.get("nth", 1)) if crash else 1,
        host_arguments=tuple(arguments),
        host_crash_at=tuple((point, int(passage)) for point, passage in host.get("crash_at", ())),
    )
