"""What WhatsApp may do to messages and requests: held and refused acks, repeated and damaged messages, 429, a time lock."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator

import orjson
import pytest

from tests.support.connector_stack import ConnectorStack
from tests.support.faults import CONTACT, OTHER, Subject, faulty_stack, subject
from tests.support.kafka import RunningKafka
from tests.support.waiting import wait_until

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def stack(kafka: RunningKafka, prefix: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ConnectorStack]:
    with faulty_stack(kafka, prefix, tmp_path_factory.mktemp("messages")) as made:
        yield made


@pytest.fixture(scope="module")
def paired(stack: ConnectorStack) -> Subject:
    return subject(stack, "fault-1", "4915300001")


@pytest.fixture
def it(paired: Subject) -> Iterator[Subject]:
    yield paired
    paired.no_faults()


def test_a_receipt_settles_what_has_no_ack(it: Subject) -> None:
    it.faults(hold_ack=True)
    it.text("held-1")
    it.result("held-1", "sent")
    it.wait_shown("online")


def test_without_ack_and_receipt_the_chat_waits_and_the_same_bytes_go_out_again(it: Subject) -> None:
    it.faults(hold_ack=True, drop_receipts=True)
    it.text("wait-1")
    it.text("wait-2")
    it.result("wait-1", "unsettled")
    assert it.states("wait-2") == ["queued"]
    wait_until(lambda: it.stack.shown(it.name)["queue"] == 2, 30, "both wait")
    it.no_faults()
    ids = [it.message_id("wait-1"), it.message_id("wait-2")]
    wait_until(lambda: it.stack.ledger_counts().keys() >= set(ids), 30, "both arrived")
    assert [it.stack.ledger_counts()[each] for each in ids] == [1, 1]
    place = [each["id"] for each in it.stack.simulator.received(dedupe=True)]
    assert place.index(ids[0]) < place.index(ids[1])


def test_a_reach_out_lock_is_final_and_told(it: Subject) -> None:
    it.faults(ack_error={"code": 463, "n": 1})
    it.text("locked-1", OTHER)
    result = it.result("locked-1", "failed")
    assert (result["error"]["code"], result["error"]["upstream_code"]) == ("wa.reachout_locked", "463")
    told = wait_until(it.limits, 30, "a limit event")[-1]
    assert (told["limit"], told["reason_code"], told["command_id"]) == ("timelock", 463, "locked-1")
    it.wait_shown("online", "wa.reachout_locked", "no retry before the expiry")
    # The next message that WhatsApp takes ends the complaint.
    it.text("unlocked-1")
    it.result("unlocked-1", "sent")
    wait_until(lambda: it.stack.shown(it.name)["last_error"] is None, 30, "nothing is wrong any more")


def test_a_notice_of_a_time_lock_is_told_and_lifted(it: Subject) -> None:
    before = len(it.limits())
    it.control("timelock", ends_s=3600)
    lock = wait_until(lambda: it.limits()[before:], 20, "the notice")[0]
    assert (lock["limit"], lock["reason"]) == ("timelock", "RESTRICT_NEW_CHATS")
    assert lock["until"] > time.time() * 1000 + 3_000_000
    row = it.wait_shown("online", "wa.reachout_locked", "replies go on")
    assert row["until_ms"] == lock["until"]
    it.control("timelock", active=False)
    wait_until(lambda: [each for each in it.limits()[before:] if each["limit"] == "lifted"], 20, "it is lifted")
    wait_until(lambda: it.stack.shown(it.name)["last_error"] is None, 30, "nothing is wrong any more")


@pytest.mark.parametrize("namespace", ["usync", "encrypt"])
def test_a_refused_query_delays_the_send(it: Subject, namespace: str) -> None:
    stranger = {"usync": "4915300011", "encrypt": "4915300012"}[namespace]
    it.stack.simulator.contact(stranger)
    before = len(it.limits())
    it.faults(rate_limit_queries=3, rate_limit_xmlns=namespace)
    it.text(f"slow-{namespace}", stranger)
    it.wait_shown("online", "a send waits", "tried again by itself")
    message_id = it.message_id(f"slow-{namespace}")
    wait_until(lambda: it.stack.ledger_counts()[message_id] == 1, 20, "the stranger has it")
    assert it.states(f"slow-{namespace}") == ["queued", "sending", "sent"]
    if namespace == "usync":
        told = it.limits()[before:]
        assert {(each["limit"], each["reason_code"]) for each in told} == {("throttled", 429)}


def test_held_messages_come_in_order_when_they_come(it: Subject) -> None:
    """Over a new login, too."""
    online = len(it.told("session.online"))
    it.faults(hold_delivery=True)
    held = [it.stack.simulator.say(CONTACT, it.phone, f"held {number}") for number in range(5)]
    it.control("kick", hard=True)
    it.wait_told("session.online", online + 1)
    assert [each for each in held if it.arrived(each)] == []
    it.no_faults()
    wait_until(lambda: all(it.arrived(each) for each in held), 30, "they are in the log")
    assert [each["key"]["id"] for each in it.stack.messages(it.name) if each["key"]["id"] in set(held)] == held


@pytest.mark.parametrize("fault", ["duplicate", "same_id_new_ciphertext"])
def test_a_message_that_comes_twice_is_one_event(it: Subject, fault: str) -> None:
    it.faults(**{fault: 1})
    first = it.stack.simulator.say(CONTACT, it.phone, f"twice by {fault}")
    second = it.stack.simulator.say(CONTACT, it.phone, "the next one")
    wait_until(lambda: it.arrived(first) and it.arrived(second), 30, "both are in the log")
    assert (len(it.arrived(first)), len(it.arrived(second))) == (1, 1)
    it.wait_shown("online")


def test_a_damaged_message_is_told_and_followed_up(it: Subject) -> None:
    total = it.stack.shown(it.name)["undecryptable"]
    it.faults(corrupt=1)
    message_id = it.stack.simulator.say(CONTACT, it.phone, "damaged on the way")
    wait_until(lambda: it.arrived(message_id), 30, "it came again")
    (damaged,), (good,) = it.arrived(message_id, "message.undecryptable"), it.arrived(message_id)
    assert good["follow_up_of"] == damaged["envelope"]["event_id"]
    assert good["key"] == damaged["key"]
    assert good["content"]["text"] == "damaged on the way"

    def counted() -> bool:
        row = it.stack.shown(it.name)
        return (row["undecryptable"], row["awaited"]) == (total + 1, 0)

    wait_until(counted, 30, "it is counted and nothing is awaited any more")
    assert 'wharf_undecryptable_total{reason="decrypt_failed"}' in it.metrics()


def test_what_is_never_followed_up_is_a_gap(it: Subject) -> None:
    """The sender is gone before it is asked again."""
    gone = "4915300013"
    it.stack.simulator.contact(gone)
    it.stack.simulator.say(gone, it.phone, "we know each other")
    gaps = len(it.told("session.gap"))
    it.faults(hold_delivery=True, corrupt=1)
    message_id = it.stack.simulator.say(gone, it.phone, "my last words")
    it.stack.simulator.call("POST", f"/v1/phones/{gone}/kick", remove=True)
    it.no_faults()
    (damaged,) = wait_until(lambda: it.arrived(message_id, "message.undecryptable"), 30, "it is told")
    gap = it.wait_told("session.gap", gaps + 1)
    assert (gap["reason"], gap["counts"]) == ("undecryptable", {"messages": 1})
    (missing,) = orjson.loads(gap["details"])["messages"]
    assert missing == {"chat": damaged["key"]["chat"], "sender": damaged["key"]["sender"], "id": message_id}
    assert gap["envelope"]["received_at"] - damaged["envelope"]["received_at"] >= 3000


def test_a_retry_is_answered_after_the_host_was_killed(it: Subject) -> None:
    contact = f"/v1/phones/{CONTACT}/faults"
    it.stack.simulator.call("POST", contact, hold_delivery=True, corrupt=1)
    it.text("retry-1", text="precious")
    message_id = it.message_id("retry-1")
    os.kill(it.stack.host_pid(), signal.SIGKILL)
    it.hears()
    it.stack.simulator.call("DELETE", contact)
    wait_until(lambda: it.stack.ledger_counts()[message_id] == 1, 30, "it was encrypted once more")


def test_every_final_is_the_only_one(stack: ConnectorStack) -> None:
    assert {name: told for name, told in stack.finals().items() if len(told) != 1} == {}
