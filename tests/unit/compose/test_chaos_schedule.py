"""Schedules are the same for the same seed, hold every fault, and last no longer than they say."""

from __future__ import annotations

from itertools import islice

import pytest

from compose.chaos.faults import Faults
from compose.chaos.schedule import ALONE, EXPERIMENTS, LASTS, MIX, PAUSE_S, TOUR, Step, steps
from compose.chaos.tail import Online, Owned
from compose.chaos.times import Away, figures, moves, returns
from core.histories import Claim


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


def online(history: dict[str, list[float]], instance: str, at: float) -> Online | None:
    return next((Online(instance, 1, each) for each in history[instance] if each > at), None)


def test_returns_leave_out_those_that_the_next_fault_hit_again() -> None:
    history = {"a": [11.0, 25.0], "b": [22.0]}
    away = [Away(10.0, 20.0, ("a", "b")), Away(20.0, 30.0, ("a", "b"))]
    assert returns(away, lambda instance, at: online(history, instance, at)) == [1.0, 5.0, 2.0]


def test_a_move_is_a_release_that_another_slot_follows_up() -> None:
    def mark(at: float, kind: str, slot: str) -> Owned:
        return Owned(Claim(0, int(at), kind, slot, slot), at)  # type: ignore[arg-type]

    history = {"a": [1.0, 11.5, 51.0]}
    marks = [mark(0, "claim", "x"), mark(10, "release", "x"), mark(11, "claim", "y")]
    restarted = [mark(20, "release", "y"), mark(21, "claim", "y")]
    too_late = [mark(22, "release", "y"), mark(60, "claim", "x")]
    all_marks = [*marks, *restarted, *too_late]
    found = moves(all_marks, {0: ["a"]}, lambda instance, at: online(history, instance, at), [(5, 99)], 30)
    assert found == [1.5]
    for span in ((11, 99), (5, 10.5)):
        assert moves(all_marks, {0: ["a"]}, lambda instance, at: online(history, instance, at), [span], 30) == []


def test_figures_without_samples_are_none() -> None:
    assert figures("move", []) == {"move_count": 0, "move_p50_s": None, "move_p99_s": None, "move_worst_s": None}
    assert figures("move", [1.0, 3.0])["move_p99_s"] == 3.0
