"""Faults need two words, and what does not exist is refused."""

from __future__ import annotations

import json
import os
import signal
from typing import Any

import pytest

from connectors.faults import HostFaults, host_faults_from
from core.faults import Faults, faults_from

ALLOWED = {"WHARF_ALLOW_FAULTS": "1"}


def wish(**faults: Any) -> dict[str, str]:
    return {"WHARF_TEST_FAULTS": json.dumps(faults)}


def test_faults_need_two_words() -> None:
    asked = wish(
        mutants=["flush"],
        abort_commits=[2],
        crash={"point": "after_commit", "nth": 3},
        host={"crash_at": [["after_wire", 2]], "mutant": "cut-open"},
    )
    assert (faults_from(asked), host_faults_from(asked)) == (Faults(), HostFaults())
    made = faults_from(asked | ALLOWED)
    assert made.mutants == frozenset({"flush"})
    assert (made.crash_point, made.crash_nth) == ("after_commit", 3)
    assert [made.aborts() for _ in range(3)] == [False, True, False]
    host = host_faults_from(asked | ALLOWED)
    assert host == HostFaults(("--allow-crash", "--mutant", "cut-open"), (("after_wire", 2),))
    assert host_faults_from(ALLOWED) == HostFaults(("--allow-crash",))


@pytest.mark.parametrize(
    ("faults", "said"),
    [
        ({"crash": {"point": "elsewhere"}}, "no such point: elsewhere"),
        ({"crash": {"point": "after_fence", "signal": "TERM"}}, "no such signal: TERM"),
        ({"mutants": ["clock"]}, "no such mutant: clock"),
        ({"connector_crash": {}}, "no such faults: connector_crash"),
    ],
)
def test_what_does_not_exist_is_refused(faults: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        faults_from(wish(**faults) | ALLOWED)


@pytest.mark.parametrize(("name", "number"), [("KILL", signal.SIGKILL), ("STOP", signal.SIGSTOP)])
def test_a_point_signals_at_its_turn_only(monkeypatch: pytest.MonkeyPatch, name: str, number: int) -> None:
    sent: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "kill", lambda pid, signum: sent.append((pid, signum)))
    faults = faults_from(wish(crash={"point": "after_fence", "nth": 2, "signal": name}) | ALLOWED)
    for _ in range(3):
        faults.reach("before_fence")
        before = len(sent)
        faults.reach("after_fence")
        assert len(sent) in (before, 1)
    assert sent == [(os.getpid(), number)]
