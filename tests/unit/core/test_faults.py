"""Faults need two words, and what does not exist is refused."""

from __future__ import annotations

import json
import os
import signal
from typing import Any

import pytest

from connectors.faults import HostFaults, host_faults_from
from core.clock import ManualClock, StepClock, SystemClock
from core.faults import Faults, clock_from, faults_from

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


def test_a_clock_is_set_once_and_never_without_permission(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = wish(clock={"after_s": 5, "by_ms": -3_600_000})
    assert type(clock_from(asked)) is SystemClock
    manual = ManualClock(7_200_000)
    monkeypatch.setattr("time.time_ns", lambda: manual.now_ms() * 1_000_000)
    monkeypatch.setattr("time.monotonic", manual.monotonic)
    clock = clock_from(asked | ALLOWED)
    assert isinstance(clock, StepClock)
    assert clock.now_ms() == 7_200_000
    manual.advance(5_000)
    assert clock.now_ms() == 7_205_000 - 3_600_000
    manual.advance(1_000)
    assert (clock.now_ms(), clock.monotonic()) == (3_606_000, 7_206.0)
