"""The judge of a chaos run must find every seeded violation, of its kind, with its place, and acquit a clean run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.histories import (
    Claim,
    Position,
    Send,
    Stamp,
    Step,
    late_sends,
    missing_numbers,
    needless,
    outlived,
    overlapping,
    receding,
    reordered,
    stale,
)
from core.oracle import Final, Observation
from core.verdict import (
    DOUBLE_OWNERSHIP,
    DOUBLED,
    KINDS,
    LOST,
    REORDERED,
    UNEXPLAINED,
    UNSETTLED,
    Evidence,
    judge,
)

SALES, OTHER = "sales-1", "sales-2"
CHATS = ("ann", "bob")


def clean(messages: int = 6) -> Evidence:
    """A correct run: two instances, two chats each, in both directions, one fail-over, one graceful move."""
    accepted = [Step(name, CHATS[n % 2], f"in-{n}") for name in (SALES, OTHER) for n in range(messages)]
    commands = [
        Step(name, CHATS[n % 2], f"m-{n}", f"commands[0]@{n}") for name in (SALES, OTHER) for n in range(messages)
    ]
    keys = [(step.instance_id, step.id.replace("m-", "c-")) for step in commands]
    sent = [(step.instance_id, step.id) for step in commands]
    stamps = [
        Stamp(name, topic, epoch, seq, partition=0, at_ms=1000 * epoch + seq)
        for name in (SALES, OTHER)
        for epoch in (1, 2, 3)
        for seq in range(1, 7)
        for topic in (("events.message", "events.session")[seq % 2],)
    ]
    return Evidence(
        seen=Observation(
            accepted=[(step.instance_id, step.id) for step in accepted],
            events_in=[(step.instance_id, step.id) for step in accepted],
            commands=keys,
            finals=[Final(*key, f"r-{key[1]}", "sent", message[1]) for key, message in zip(keys, sent, strict=True)],
            received=sent,
            events_out=sent,
        ),
        acknowledged=keys,
        accepted=accepted,
        events_in=accepted,
        commands=commands,
        received=commands,
        stamps=stamps,
        claims=[
            Claim(0, 1, "claim", "connector-1", "a", "m-1", 900),
            Claim(0, 2, "claim", "connector-1", "b", "m-2", 1900),
            Claim(0, 3, "release", "connector-1", "b", "m-2", 2800),
            Claim(0, 4, "claim", "connector-2", "c", "m-3", 2900),
            Claim(0, 5, "release", "connector-2", "c", "m-3", 3800),
            Claim(0, 6, "claim", "connector-1", "b", "m-2", 3900),
            Claim(1, 1, "claim", "connector-2", "c", "m-3", 2950),
        ],
        positions=[Position(0, at, "commands.admitted", at // 2) for at in range(8)],
        sends=[Send(SALES, 0, "m-0", 950, 1890), Send(SALES, 0, "m-2", 1950, 2890)],
        acknowledged_requests=[(SALES, "request-1")],
        # The producer tried again: it stands in the log twice and has its answer twice.
        requests=[(SALES, "request-1"), (SALES, "request-2"), (SALES, "request-2")],
        answers=[(SALES, "request-1"), (SALES, "request-2"), (SALES, "request-2")],
        places={(SALES, "in-3"): ["events.message[0]@7"]},
    )


@given(st.integers(0, 40))
def test_a_correct_run_is_clean(messages: int) -> None:
    verdict = judge(clean(messages))
    assert verdict.clean, verdict.lines()
    assert verdict.counts["out: commands"] == 2 * messages


def seen(evidence: Evidence, **changes: Any) -> Evidence:
    return replace(evidence, seen=replace(evidence.seen, **changes))


def without(entries: Any, entry: Any) -> list[Any]:
    assert entry in entries
    return [each for each in entries if each != entry]


def swapped(entries: Any, first: int, second: int) -> list[Any]:
    out = list(entries)
    out[first], out[second] = out[second], out[first]
    return out


STORED = ("results[3] hour 492311", "6ba7b810-9dad-11d1-80b4-00c04fd430c8")
IN, OUT, COMMAND = (SALES, "in-3"), (SALES, "m-3"), (SALES, "c-3")
SEEDED: dict[str, tuple[str, Callable[[Evidence], Evidence]]] = {
    "a message has no event": (LOST, lambda e: seen(e, events_in=without(e.seen.events_in, IN))),
    "a message has two events": (DOUBLED, lambda e: seen(e, events_in=[*e.seen.events_in, IN])),
    "an event of nothing": (UNEXPLAINED, lambda e: seen(e, events_in=[*e.seen.events_in, (SALES, "in-99")])),
    "a sent message never came": (LOST, lambda e: seen(e, received=without(e.seen.received, OUT))),
    "a sent message has no event": (LOST, lambda e: seen(e, events_out=without(e.seen.events_out, OUT))),
    "a recipient has it twice": (DOUBLED, lambda e: seen(e, received=[*e.seen.received, OUT])),
    "two final results": (
        DOUBLED,
        lambda e: seen(e, finals=[*e.seen.finals, replace(e.seen.finals[3], result_id="another")]),
    ),
    "no final result": (
        UNSETTLED,
        lambda e: seen(
            e,
            finals=[each for each in e.seen.finals if each.command != COMMAND],
            received=without(e.seen.received, OUT),
            events_out=without(e.seen.events_out, OUT),
        ),
    ),
    "acknowledged and not in the log": (LOST, lambda e: replace(e, acknowledged=[*e.acknowledged, (SALES, "c-99")])),
    "events of a chat change places": (REORDERED, lambda e: replace(e, events_in=swapped(e.events_in, 1, 3))),
    "messages to a chat change places": (REORDERED, lambda e: replace(e, received=swapped(e.received, 1, 3))),
    "a message overtakes another, and is the one that was asked for again": (
        REORDERED,
        lambda e: replace(e, received=swapped(e.received, 1, 3), asked_again=[(SALES, "m-3"), (OTHER, "m-1")]),
    ),
    "a record of a lower epoch": (
        DOUBLE_OWNERSHIP,
        lambda e: replace(e, stamps=[*e.stamps, Stamp(SALES, "events.message", 2, 6, "events.message[0]@99", 0, 2007)]),
    ),
    "two records under the same numbers": (DOUBLE_OWNERSHIP, lambda e: replace(e, stamps=[*e.stamps, e.stamps[-1]])),
    "a number is missing": (LOST, lambda e: replace(e, stamps=[each for each in e.stamps if not _is_hole(each)])),
    "a release after another one's claim": (
        DOUBLE_OWNERSHIP,
        lambda e: replace(e, claims=[*e.claims, Claim(0, 7, "release", "connector-2", "c", "m-3", 4000)]),
    ),
    "a release of one who does not own": (
        DOUBLE_OWNERSHIP,
        lambda e: replace(e, claims=[*e.claims, Claim(1, 2, "release", "connector-1", "b", "m-2", 4000)]),
    ),
    "a record of a former owner in another topic, before the next one wrote anything there": (
        DOUBLE_OWNERSHIP,
        lambda e: replace(e, stamps=[*e.stamps, Stamp(SALES, "events.chat", 2, 7, "events.chat[0]@9", 0, 2950)]),
    ),
    "a record of a former epoch of the same owner, after the next one's first": (
        DOUBLE_OWNERSHIP,
        lambda e: replace(
            e, claims=e.claims[:1], stamps=[*e.stamps, Stamp(SALES, "events.chat", 2, 7, "events.chat[0]@9", 0, 3002)]
        ),
    ),
    "a message sent by a former owner": (
        DOUBLE_OWNERSHIP,
        lambda e: replace(e, sends=[*e.sends, Send(SALES, 0, "m-4", 1950, 2901)]),
    ),
    "a claim of one who was overtaken": (
        DOUBLE_OWNERSHIP,
        lambda e: replace(e, claims=[*e.claims, Claim(0, 7, "claim", "connector-1", "a", "m-1", 4000)]),
    ),
    "a position goes back": (
        DOUBLE_OWNERSHIP,
        lambda e: replace(e, positions=[*e.positions, Position(0, 9, "commands.admitted", 2)]),
    ),
    "a session is opened anew in a storm although its partition stayed": (
        UNEXPLAINED,
        lambda e: replace(
            e,
            storms=[(4500, 5500)],
            stamps=[*e.stamps, *(Stamp(SALES, "events.session", epoch, 1, "", 0, 1000 * epoch) for epoch in (4, 5))],
        ),
    ),
    "an instance is blocked in the end": (UNSETTLED, lambda e: replace(e, offline=[(SALES, "replaced")])),
    "a request without an answer": (UNSETTLED, lambda e: replace(e, answers=e.answers[1:])),
    "a request answered once of twice": (UNSETTLED, lambda e: replace(e, answers=e.answers[:-1])),
    "a request answered twice": (DOUBLED, lambda e: replace(e, answers=[*e.answers, e.answers[0]])),
    "an event is not in ClickHouse": (LOST, lambda e: replace(e, stored_missing=[STORED])),
    "an event is in ClickHouse only": (UNEXPLAINED, lambda e: replace(e, stored_surplus=[STORED])),
    "an event is in ClickHouse twice": (DOUBLED, lambda e: replace(e, stored_doubled=[STORED])),
    "an hour's sum is too low": (
        LOST,
        lambda e: replace(e, rollups_short=[("volume_hour", SALES, "0", "message.new")]),
    ),
    "an hour's sum is too high": (
        DOUBLED,
        lambda e: replace(e, rollups_over=[("volume_hour", SALES, "0", "message.new")]),
    ),
    "a request that was acknowledged is not in the log": (
        LOST,
        lambda e: replace(e, acknowledged_requests=[*e.acknowledged_requests, (SALES, "request-9")]),
    ),
}


def _is_hole(stamp: Stamp) -> bool:
    return (stamp.instance_id, stamp.epoch, stamp.seq) == (SALES, 2, 4)


@pytest.mark.parametrize("name", SEEDED)
def test_each_seeded_violation_is_found_and_no_other(name: str) -> None:
    kind, seed = SEEDED[name]
    verdict = judge(seed(clean()))
    assert {each.kind for each in verdict.violations} == {kind}, verdict.lines()
    assert verdict.number(kind) == 1
    [line] = verdict.lines()
    assert "/".join(verdict.violations[0].key) in line


def test_every_kind_is_seeded() -> None:
    assert {kind for kind, _ in SEEDED.values()} == set(KINDS)


def test_what_differs_is_told_with_its_place_in_the_log() -> None:
    [violation] = judge(seen(clean(), events_in=without(clean().seen.events_in, IN))).violations
    assert violation.as_dict()["places"] == ["events.message[0]@7"]
    [violation] = judge(replace(clean(), received=swapped(clean().received, 1, 3))).violations
    assert violation.places == ("commands[0]@1",)


def test_unknown_expired_and_rejected_are_counted_apart() -> None:
    evidence = clean()
    states = ["unknown", "expired", "rejected", "unknown", "failed", "cancelled"]
    finals = [
        replace(final, state=state, message_id=final.message_id if state == "unknown" else None)
        for final, state in zip(evidence.seen.finals, states, strict=False)
    ]
    gone = [final.command for final in evidence.seen.finals[:6]]
    left = [
        message for message in evidence.seen.received if message not in [(one, f"m-{two[2:]}") for one, two in gone]
    ]
    verdict = judge(seen(evidence, finals=[*finals, *evidence.seen.finals[6:]], received=left, events_out=left))
    assert verdict.clean, verdict.lines()
    assert {name: verdict.counts[name] for name in ("unknown", "expired", "rejected", "failed", "cancelled")} == {
        "unknown": 2,
        "expired": 1,
        "rejected": 1,
        "failed": 1,
        "cancelled": 1,
    }


def test_a_message_that_its_recipient_asked_for_again_may_come_late() -> None:
    """WhatsApp itself sends on meanwhile."""
    evidence = clean()
    late = replace(evidence, received=swapped(evidence.received, 1, 3), asked_again=[(SALES, "m-1")])
    assert judge(late).clean
    assert judge(late).counts["asked_again"] == 1


CHAT = st.sampled_from(CHATS)


@given(st.lists(CHAT, max_size=30), st.randoms(use_true_random=False))
def test_interleaving_of_chats_is_no_disorder(chats: list[str], rng: Any) -> None:
    entered = [Step(SALES, chat, str(number)) for number, chat in enumerate(chats)]
    queues = {chat: [step for step in entered if step.chat == chat] for chat in CHATS}
    left = []
    while any(queues.values()):
        left.append(queues[rng.choice([chat for chat in CHATS if queues[chat]])].pop(0))
    assert reordered(entered, left) == []
    # Neither is a part that never came, nor one that came again: those have their own names.
    assert reordered(entered, [*left[::2], *left[::2]]) == []


@given(st.permutations(range(8)))
def test_any_disorder_within_a_chat_is_found(order: list[int]) -> None:
    entered = [Step(SALES, "ann", str(number)) for number in range(8)]
    found = reordered(entered, [entered[number] for number in order])
    assert bool(found) == (order != sorted(order))


@given(st.lists(st.tuples(st.integers(1, 4), st.integers(1, 9)), unique=True, max_size=20), st.data())
def test_a_repeated_or_older_stamp_is_found_anywhere(numbers: list[tuple[int, int]], data: st.DataObject) -> None:
    stamps = [Stamp(SALES, "events.message", epoch, seq) for epoch, seq in sorted(numbers)]
    assert stale(stamps) == []
    if stamps:
        again = data.draw(st.sampled_from(stamps))
        assert stale([*stamps, again]) == [again]


def test_numbers_count_over_all_topics_and_the_first_epoch_is_left_out() -> None:
    first = [Stamp(SALES, "events.session", 1, seq) for seq in (3, 9)]
    second = [Stamp(SALES, ("events.session", "events.message")[seq % 2], 2, seq) for seq in (1, 2, 3, 5)]
    assert missing_numbers([*first, *second]) == [Stamp(SALES, "", 2, 4)]


def test_a_slot_that_comes_back_after_a_release_is_an_owner_again() -> None:
    marks = [("claim", "a"), ("release", "a"), ("claim", "b"), ("release", "b"), ("claim", "a"), ("claim", "a")]
    claims = [Claim(0, at, kind, inc, inc) for at, (kind, inc) in enumerate(marks)]  # type: ignore[arg-type]
    assert overlapping(claims) == []
    late = Claim(0, 9, "release", "b", "b")
    assert overlapping([*claims, late]) == [late]


def test_a_move_opens_its_sessions_once_and_leaves_the_others_alone() -> None:
    moved = [Stamp(SALES, "events.session", epoch, 1, "", 0, 1000 * epoch) for epoch in (1, 2, 3)]
    stayed = [Stamp(OTHER, "events.session", 1, seq, "", 1, 1000 * seq) for seq in (1, 2, 3)]
    there = Claim(0, 1, "claim", "b", "b", "m-2", 1900)
    back = Claim(0, 2, "claim", "a", "a", "m-1", 2900)
    assert needless([*moved, *stayed], [there, back], [(1500, 3500)]) == []
    # Outside of storms there are other reasons.
    assert needless([*moved, *stayed], [], [(3500, 4000)]) == []
    assert needless([*moved, *stayed], [there], [(1500, 3500)]) == [moved[2]]
    # A session may be opened some seconds after the claim that moved it, which came before the storm then.
    assert needless([*moved, *stayed], [there, back], [(2950, 3500)]) == []
    again = Stamp(OTHER, "events.session", 2, 1, "", 1, 2950)
    assert needless([*moved, *stayed, again], [there, back], [(1500, 3500)]) == [again]


def test_who_was_overtaken_owns_again_once_it_has_joined_anew() -> None:
    first, second = Claim(0, 1, "claim", "a", "a", "m-1"), Claim(0, 2, "claim", "b", "b", "m-2")
    assert overlapping([first, second, Claim(0, 3, "claim", "a", "a", "m-3")]) == []
    again = Claim(0, 3, "claim", "a", "a", "m-1")
    assert overlapping([first, second, again]) == [again]
    released = Claim(0, 2, "release", "a", "a", "m-1")
    assert overlapping([first, released, replace(second, offset=3), replace(again, offset=4)]) == []


TIMES = st.lists(st.integers(0, 10_000), min_size=2, max_size=12, unique=True).map(sorted)


@given(TIMES, st.data())
def test_what_a_former_owner_does_after_the_next_claim_is_found_in_any_topic(
    times: list[int], data: st.DataObject
) -> None:
    """Each owner claims, and has a record and a login right after; the late one has any time from the next claim on."""
    claims = [Claim(0, at, "claim", f"s-{at}", f"i-{at}", f"m-{at}", 3 * at) for at in times]
    stamps = [
        Stamp(SALES, ("events.message", "events.session")[at % 2], number, 1, "", 0, 3 * at + 1)
        for number, at in enumerate(times)
    ]
    sends = [Send(SALES, 0, str(at), 3 * at + 1, 3 * at + 2) for at in times]
    assert (outlived(stamps, claims), late_sends(sends, claims), overlapping(claims)) == ([], [], [])
    former = data.draw(st.integers(0, len(times) - 2))
    late_ms = 3 * times[former + 1] + data.draw(st.integers(1, 50_000))
    record = Stamp(SALES, "events.chat", former, 2, "", 0, late_ms)
    assert outlived([*stamps, record], claims) == [record]
    # Without the claims, what the next owner wrote tells as much.
    assert (outlived([*stamps, record], []) == [record]) == (late_ms > 3 * times[former + 1] + 1)
    sent = Send(SALES, 0, "late", 3 * times[former] + 1, late_ms)
    assert late_sends([*sends, sent], claims) == [sent]
    # A claim elsewhere has nothing to do with it.
    assert late_sends([*sends, sent], [replace(claim, partition=1) for claim in claims]) == []


@given(st.lists(st.integers(1, 100), min_size=1, max_size=20).map(sorted), st.data())
def test_a_position_that_goes_back_is_found(positions: list[int], data: st.DataObject) -> None:
    kept = [Position(0, number, "commands.admitted", next_) for number, next_ in enumerate(positions)]
    assert receding(kept) == []
    back = Position(0, 99, "commands.admitted", data.draw(st.integers(0, positions[-1] - 1)))
    assert receding([*kept, back]) == [back]
    assert receding([*kept, replace(back, partition=1), replace(back, topic="control")]) == []


def test_an_empty_observation_is_clean() -> None:
    assert judge(Evidence(seen=Observation())).clean
