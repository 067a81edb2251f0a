"""Schedules are the same for the same seed, hold every fault, and last no longer than they say."""

from __future__ import annotations

from itertools import islice

import pytest

from compose.chaos.faults import Faults
from compose.chaos.schedule import ALONE, EXPERIMENTS, LASTS, MIX, PAUSE_S, TOUR, Step, steps


def schedule(seed: int, name: str = "mix", minutes: float = 10.0, count: int = 2000) -> list[Step]:
    return list(islice(steps(seed, name, minutes), count))


def test_the_same_seed_gives_the_same_steps_and_the_same_luck() -> None:
    first, again, other = schedule(7), schedule(7), schedule(8)
    assert first == again
    assert [step.luck.random() for step in first] == [step.luck.random() for step in again]
    assert first != other


def test_the_luck_of_a_step_does_not_hang_on_what_others_did_with_theirs() -> None:
    first, again = schedule(7, count=2), schedule(7, count=2)
    first[0].luck.random()
    assert first[1].luck.random() == again[1].luck.random()


def test_the_mix_holds_every_fault_of_its_weight() -> None:
    names = [step.fault for step in schedule(1)]
    assert set(names) == set(MIX)
    total = sum(MIX.values())
    for name, weight in MIX.items():
        assert names.count(name) / len(names) == pytest.approx(weight / total, abs=0.03)


def test_the_tour_does_each_fault_once_and_briefly() -> None:
    tour = schedule(5, TOUR)
    assert sorted(step.fault for step in tour) == sorted(MIX)
    assert [step.fault for step in tour] != [step.fault for step in schedule(6, TOUR)]
    for step in tour:
        assert step.lasts_s == LASTS.get(step.fault, (0.0,))[0]


def test_experiments_are_made_of_faults_that_there_are() -> None:
    assert {fault for weights in EXPERIMENTS.values() for fault in weights} == {*MIX, *ALONE}


def test_every_fault_can_be_done_and_run_alone() -> None:
    for name in (*MIX, *ALONE):
        assert callable(getattr(Faults, name))
        assert {step.fault for step in schedule(1, name.replace("_", "-"), count=5)} == {name}


@pytest.mark.parametrize("minutes", [10.0, 60.0])
def test_faults_last_and_pause_as_long_as_they_may(minutes: float) -> None:
    for step in schedule(3, minutes=minutes):
        least, usual, most = LASTS.get(step.fault, (0.0, 0.0, 0.0))
        assert least <= step.lasts_s <= (most if minutes > 30 else usual)
        assert PAUSE_S[0] <= step.pause_s <= PAUSE_S[1]
