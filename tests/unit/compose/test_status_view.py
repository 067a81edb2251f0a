"""`wharf status` shows of each session: state, since when, what is wrong, what to do."""

from __future__ import annotations

import io
import time

from rich.console import Console

from compose.cli.stack_view import instances_table


def test_a_session_in_trouble_says_what_and_what_to_do() -> None:
    out = io.StringIO()
    row = {
        "instance_id": "sales-1",
        "state": "logged_out",
        "simulated": True,
        "since_ms": int((time.time() - 300) * 1000),
        "queue": 2,
        "last_error": "wa.logged_out: the phone unlinked this device (401)",
        "next_step": "pair the instance again",
    }
    Console(file=out, width=200).print(instances_table([row]))
    text = out.getvalue()
    for part in ("sales-1", "logged_out", "5 min", "2", "unlinked this device (401)", "pair the instance again"):
        assert part in text
