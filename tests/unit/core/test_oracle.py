"""The oracle must see every seeded violation, name it, and stay silent on a correct history."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.oracle import Final, Observation, compare

INSTANCES = ("sales-1", "sales-2")


def history(incoming: int, outgoing: int, unknown: int = 0) -> Observation:
    """A correct one; of the commands with an `unknown` result every second one has arrived."""
    accepted = [(INSTANCES[n % 2], f"in-{n}") for n in range(incoming)]
    commands = [(INSTANCES[n % 2], f"c-{n}") for n in range(outgoing + unknown)]
    finals = [
        Final(instance, command, f"r-{command}", "sent" if n < outgoing else "unknown", f"m-{command}")
        for n, (instance, command) in enumerate(commands)
    ]
    arrived = [final.message for n, final in enumerate(finals) if final.message and (n < outgoing or n % 2)]
    return Observation(accepted, list(reversed(accepted)), commands, finals, arrived, arrived)


@given(st.integers(0, 30), st.integers(0, 30), st.integers(0, 6))
def test_a_correct_history_is_clean(incoming: int, outgoing: int, unknown: int) -> None:
    report = compare(history(incoming, outgoing, unknown))
    assert report.clean
    assert report.counts["in: events"] == incoming
    assert report.counts["out: results that say sent"] == outgoing
    assert report.counts["out: final results"] == outgoing + unknown


IN, OUT = ("sales-1", "in-4"), ("sales-1", "m-c-4")
COMMAND = ("sales-1", "c-4")
FINAL = Final(*COMMAND, "r-c-4", "sent", "m-c-4")


def without(keys: object, key: object) -> list:  # type: ignore[type-arg]
    assert isinstance(keys, (list, tuple))
    assert key in keys
    return [other for other in keys if other != key]


def seeded(name: str) -> Callable[[Observation], Observation]:
    changes: dict[str, Callable[[Observation], Observation]] = {
        "in: accepted by WhatsApp, no event": lambda o: replace(o, events_in=without(o.events_in, IN)),
        "in: event, never accepted by WhatsApp": lambda o: replace(o, accepted=without(o.accepted, IN)),
        "in: more than one event": lambda o: replace(o, events_in=[*o.events_in, IN]),
        "in: more than one acceptance under one id": lambda o: replace(o, accepted=[*o.accepted, IN]),
        "out: command without a final result": lambda o: replace(
            o,
            finals=without(o.finals, FINAL),
            received=without(o.received, OUT),
            events_out=without(o.events_out, OUT),
        ),
        "out: final result of no command": lambda o: replace(o, commands=without(o.commands, COMMAND)),
        "out: more than one final result": lambda o: replace(o, finals=[*o.finals, replace(FINAL, result_id="other")]),
        "out: result says sent, but without a message id": lambda o: replace(
            o,
            finals=[*without(o.finals, FINAL), replace(FINAL, message_id=None)],
            received=without(o.received, OUT),
            events_out=without(o.events_out, OUT),
        ),
        "out: result says sent, recipient has nothing": lambda o: replace(o, received=without(o.received, OUT)),
        "out: recipient has it, result does not say sent": lambda o: replace(
            o,
            finals=[*without(o.finals, FINAL), replace(FINAL, state="failed")],
            events_out=without(o.events_out, OUT),
        ),
        "out: recipient has it more than once": lambda o: replace(o, received=[*o.received, OUT]),
        "out: result says sent, no event": lambda o: replace(o, events_out=without(o.events_out, OUT)),
        "out: event, result does not say sent": lambda o: replace(
            o,
            finals=[*without(o.finals, FINAL), replace(FINAL, state="failed")],
            received=without(o.received, OUT),
        ),
        "out: more than one event": lambda o: replace(o, events_out=[*o.events_out, OUT]),
    }
    return changes[name]


@pytest.mark.parametrize(
    "name",
    [
        "in: accepted by WhatsApp, no event",
        "in: event, never accepted by WhatsApp",
        "in: more than one event",
        "in: more than one acceptance under one id",
        "out: command without a final result",
        "out: final result of no command",
        "out: more than one final result",
        "out: result says sent, but without a message id",
        "out: result says sent, recipient has nothing",
        "out: recipient has it, result does not say sent",
        "out: recipient has it more than once",
        "out: result says sent, no event",
        "out: event, result does not say sent",
        "out: more than one event",
    ],
)
def test_each_seeded_violation_is_found_and_no_other(name: str) -> None:
    report = compare(seeded(name)(history(10, 10)))
    assert list(report.differences) == [name]
    (key,) = report.differences[name]
    assert key in (IN, OUT, COMMAND)
    assert any(name in line and key[1] in line for line in report.lines())


def test_an_unknown_result_does_not_excuse_a_doubled_message() -> None:
    seen = history(0, 0, unknown=2)
    message = seen.received[0]
    report = compare(replace(seen, received=[message, message]))
    assert report.differences == {"out: recipient has it more than once": [message]}


def test_the_repeated_answer_to_a_duplicate_command_is_no_second_result() -> None:
    seen = history(0, 3)
    assert compare(
        replace(seen, commands=[*seen.commands, seen.commands[0]], finals=[*seen.finals, seen.finals[0]])
    ).clean


def test_the_same_id_at_two_instances_is_two_messages() -> None:
    both = [(instance, "same") for instance in INSTANCES]
    assert compare(Observation(accepted=both, events_in=both)).clean
    assert not compare(Observation(accepted=both, events_in=both[:1])).clean
