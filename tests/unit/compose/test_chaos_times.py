"""Who is back after a fault, and how long it took: nobody is left out, and only what the connector shows counts."""

from __future__ import annotations

from typing import Any

from compose.bench.report import Target
from compose.chaos.seen import Online, Owned, Seen
from compose.chaos.times import Away, Sample, figures, moves, returns, still_away
from core.histories import Claim


def online(history: dict[str, list[float]], instance: str, at: float) -> Online | None:
    return next((Online(instance, 1, each) for each in history[instance] if each > at), None)


def test_what_the_next_fault_came_into_lasted_at_least_until_then() -> None:
    history = {"a": [11.0, 25.0], "b": [22.0], "c": []}
    away = [Away(10.0, 20.0, ("a", "b")), Away(20.0, 30.0, ("a", "b", "c"))]
    found = returns(away, lambda instance, at: online(history, instance, at))
    assert found == [Sample(1.0), Sample(10.0, cut_short=True), Sample(5.0), Sample(2.0), Sample(10.0, cut_short=True)]


def test_a_percentile_that_a_cut_short_sample_might_push_up_is_a_lower_bound() -> None:
    told = figures("failover", [*(Sample(float(at)) for at in range(1, 10)), Sample(7.5, cut_short=True)])
    assert (told["failover_count"], told["failover_cut_short"]) == (10, 1)
    assert (told["failover_p50_s"], told["failover_p99_s"]) == (5.0, 9.0)
    assert told["failover_lower_bounds"] == ["failover_p99_s", "failover_worst_s"]
    assert not Target("failover_p99_s", 10.0, 9.0, lower_bound=True).met


def event(instance: str, state: str, epoch: int | None = 1) -> dict[str, Any]:
    return {"envelope": {"instance_id": instance, "session_epoch": epoch, "seq": 1}, "state": state}


def test_a_connector_that_stays_dead_is_away_whatever_the_limiter_says() -> None:
    """The limiter admits commands for it, and the media worker tells of what it stored."""
    seen = Seen()
    seen.take_event("events.session", event("a", "online"), 5.0, 5.0)
    for state, is_final in (("admitted", False), ("delayed", False), ("rejected", True)):
        seen.take_result({"instance_id": "a", "command_id": state, "state": state, "final": is_final})
    seen.take_event("events.session", event("a", "online", None), 12.0, 12.0)
    assert still_away(seen, ["a"], 10.0, {}, 0.2) == ["a"]
    seen.take_event("events.session", event("a", "gap"), 12.0, 12.0)
    assert still_away(seen, ["a"], 10.0, {}, 0.2) == []


def test_a_session_that_was_closed_is_away_until_it_is_online_again() -> None:
    """What its former owner had committed may still be seen, and so is its way to a new one."""
    seen = Seen()
    seen.take_event("events.session", event("a", "online"), 5.0, 5.0)
    seen.take_event("events.session", event("a", "connecting"), 12.0, 12.0)
    assert still_away(seen, ["a"], 10.0, {"a": 9.0}, 0.2) == ["a"]
    seen.take_event("events.session", event("a", "online"), 13.0, 13.0)
    assert still_away(seen, ["a"], 10.0, {"a": 9.0}, 0.2) == []


def test_a_move_is_a_release_that_another_slot_follows_up() -> None:
    def mark(at: float, kind: str, slot: str) -> Owned:
        return Owned(Claim(0, int(at), kind, slot, slot), at)  # type: ignore[arg-type]

    history = {"a": [1.0, 11.5, 51.0]}
    marks = [mark(0, "claim", "x"), mark(10, "release", "x"), mark(11, "claim", "y")]
    restarted = [mark(20, "release", "y"), mark(21, "claim", "y")]
    too_late = [mark(22, "release", "y"), mark(60, "claim", "x")]
    all_marks = [*marks, *restarted, *too_late]
    found = moves(all_marks, {0: ["a"]}, lambda instance, at: online(history, instance, at), [(5, 99)], 30)
    assert found == [Sample(1.5)]
    for span in ((11, 99), (5, 10.5)):
        assert moves(all_marks, {0: ["a"]}, lambda instance, at: online(history, instance, at), [span], 30) == []


def test_figures_without_samples_are_none() -> None:
    assert figures("move", []) == {
        "move_count": 0,
        "move_cut_short": 0,
        "move_p50_s": None,
        "move_p99_s": None,
        "move_worst_s": None,
        "move_lower_bounds": [],
    }
    assert figures("move", [Sample(1.0), Sample(3.0)])["move_p99_s"] == 3.0
