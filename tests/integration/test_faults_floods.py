"""Much at once: first contacts from both sides, floods in both directions, a backlog of thousands."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.faults import CONTACT, OTHER, Subject, faulty_stack, subject
from tests.support.kafka import RunningKafka
from tests.support.waiting import wait_until

pytestmark = pytest.mark.timeout(180)
STRANGERS = [f"49156001{number:02}" for number in range(5)]
BACKLOG, FLOOD = 3000, 150


@pytest.fixture(scope="module")
def it(kafka: RunningKafka, prefix: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Subject]:
    with faulty_stack(kafka, prefix, tmp_path_factory.mktemp("floods")) as made:
        yield subject(made, "flood-1", "4915600001")


def test_both_sides_write_first(it: Subject) -> None:
    for stranger in STRANGERS:
        it.stack.simulator.contact(stranger)
    with ThreadPoolExecutor(len(STRANGERS)) as pool:
        for stranger in STRANGERS:
            it.stack.text(f"first-{stranger}", it.name, stranger, "we first")
        it.stack.streams.flush()
        theirs = list(pool.map(lambda each: it.stack.simulator.say(each, it.phone, "no, we"), STRANGERS))
    ours = [it.message_id(f"first-{stranger}") for stranger in STRANGERS]
    wait_until(lambda: all(it.arrived(each) for each in theirs), 60, "theirs are in the log")
    wait_until(lambda: all(it.stack.ledger_counts()[each] for each in ours), 60, "ours have arrived")
    assert [len(it.arrived(each)) for each in theirs] == [1] * len(theirs)
    assert [it.stack.ledger_counts()[each] for each in ours] == [1] * len(ours)
    wait_until(lambda: it.stack.shown(it.name)["awaited"] == 0, 30, "nothing undecryptable is open")


def test_floods_in_both_directions(it: Subject) -> None:
    theirs = it.stack.simulator.flood(CONTACT, it.phone, FLOOD, "DUPLEX")
    commands = [f"duplex-{number:04}" for number in range(FLOOD)]
    for command in commands:
        it.stack.text(command, it.name, CONTACT, command)
    it.stack.streams.flush()
    wait_until(lambda: it.stack.finals().keys() >= set(commands), 90, "every command has its final")
    wait_until(lambda: it.stack.in_counts(it.name).keys() >= set(theirs), 60, "theirs are in the log")
    finals = it.stack.finals()
    assert {finals[command][0] for command in commands} == {"sent"}
    counts = it.stack.in_counts(it.name)
    assert {counts[each] for each in theirs} == {1}
    sent = [each for each in it.stack.messages(it.name, "out") if each["command_id"] in set(commands)]
    ids = {each["command_id"]: each["key"]["id"] for each in sent}
    wait_until(lambda: it.stack.ledger_counts().keys() >= set(ids.values()), 60, "ours have arrived")
    ledger = it.stack.ledger_counts()
    assert {ledger[each] for each in ids.values()} == {1}
    assert [each["command_id"] for each in sent] == commands


def test_a_backlog_of_thousands_comes_in_order(it: Subject) -> None:
    """More than a session may have unanswered, and more than whatsmeow queues in order. First contacts are made meanwhile:
    what they need of WhatsApp lies behind the backlog."""
    it.stack.connector.stop()
    halves = {CONTACT: "LATEA", OTHER: "LATEB"}
    with ThreadPoolExecutor(2) as pool:
        ids = dict(
            zip(
                halves,
                pool.map(
                    lambda each: it.stack.simulator.call(
                        "POST",
                        f"/v1/contacts/{each[0]}/flood",
                        to=it.phone,
                        count=BACKLOG // 2,
                        prefix=each[1],
                        wait=True,
                    )["ids"],
                    halves.items(),
                ),
                strict=True,
            )
        )
    stranger = "4915600200"
    it.stack.simulator.contact(stranger)
    it.text("meanwhile-1", stranger)
    it.stack.start()
    everything = {each for half in ids.values() for each in half}
    wait_until(lambda: it.stack.in_counts(it.name).keys() >= everything, 60, "the backlog is in the log")
    late = [each for each in it.stack.messages(it.name) if each["key"]["id"] in everything]
    assert len(late) == BACKLOG
    assert {each["envelope"]["origin"] for each in late} == {"offline"}
    for half in ids.values():
        mine = set(half)
        assert [each["key"]["id"] for each in late if each["key"]["id"] in mine] == half
    it.result("meanwhile-1", "sent")
    assert it.told("session.gap") == []


def test_every_final_is_the_only_one(it: Subject) -> None:
    assert {name: told for name, told in it.stack.finals().items() if len(told) != 1} == {}
