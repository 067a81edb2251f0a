"""What a run is held to: zeros, a thousandth of commands that end otherwise, times that are no lower bounds."""

from __future__ import annotations

from typing import Any

import pytest

from compose.chaos.run import ENDED_OTHERWISE, targets
from compose.chaos.times import Sample, figures
from core.verdict import KINDS


def run(share: float | None = 0.0, commands: int = 1000, failover: tuple[Sample, ...] = ()) -> dict[str, Any]:
    others = ("machine_failover", "move", "drain", "broker", "stand_still_failover")
    times: dict[str, tuple[Sample, ...]] = {"failover": failover, **dict.fromkeys(others, ())}
    told = {key: value for name, samples in times.items() for key, value in figures(name, samples).items()}
    return {**dict.fromkeys(KINDS, 0), "commands": commands, "ended_otherwise_share": share, **told}


def met(figures_: dict[str, Any]) -> dict[str, bool]:
    return {each.name: each.met for each in targets(figures_)}


@pytest.mark.parametrize(("share", "is_met"), [(0.0, True), (ENDED_OTHERWISE, True), (0.0011, False)])
def test_unknown_expired_and_rejected_have_a_goal(share: float, is_met: bool) -> None:
    assert met(run(share))["ended_otherwise_share"] is is_met


def test_without_commands_there_is_nothing_to_share() -> None:
    assert met(run(None, commands=0)) == dict.fromkeys(KINDS, True)


def test_a_lower_bound_meets_no_goal() -> None:
    whole = met(run(failover=(Sample(1.0), Sample(1.4))))
    assert (whole["failover_p50_s"], whole["failover_p99_s"]) == (True, True)
    cut = met(run(failover=(Sample(1.0), Sample(1.4, cut_short=True))))
    assert (cut["failover_p50_s"], cut["failover_p99_s"]) == (True, False)
