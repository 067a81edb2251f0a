"""What WhatsApp may do to a session: held and refused acks, repeated and damaged messages, a ban, a take-over, a logout."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.connector_stack import ConnectorStack, running_connector_stack
from tests.support.kafka import RunningKafka
from tests.support.waiting import wait_until

pytestmark = pytest.mark.timeout(180)
PHONE, CONTACT, OTHER = "4915300001", "4915300002", "4915300003"
NAME = "fault-1"


@pytest.fixture(scope="module")
def running(kafka: RunningKafka, prefix: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ConnectorStack]:
    with running_connector_stack(kafka, prefix, tmp_path_factory.mktemp("connector")) as made:
        made.start()
        made.simulator.contact(CONTACT)
        made.simulator.contact(OTHER)
        made.pair(NAME, PHONE)
        yield made


@pytest.fixture
def stack(running: ConnectorStack) -> Iterator[ConnectorStack]:
    yield running
    running.simulator.call("DELETE", f"/v1/phones/{PHONE}/faults")


def faults(stack: ConnectorStack, **wanted: object) -> None:
    stack.simulator.call("POST", f"/v1/phones/{PHONE}/faults", **wanted)


def states(stack: ConnectorStack, command_id: str) -> list[str]:
    return [each["state"] for each in stack.streams.results(command_id)]


def arrived(stack: ConnectorStack, message_id: str, kind: str = "message.new") -> int:
    return len([each for each in stack.messages(NAME) if each["key"]["id"] == message_id and each["kind"] == kind])


def test_a_receipt_settles_what_has_no_ack(stack: ConnectorStack) -> None:
    faults(stack, hold_ack=True)
    stack.text("held-1", NAME, CONTACT, "no ack, but two ticks")
    stack.streams.flush()
    stack.streams.wait_result("held-1", "sent")
    assert stack.finals()["held-1"] == ["sent"]


def test_without_ack_and_receipt_the_chat_waits_and_the_same_bytes_go_out_again(stack: ConnectorStack) -> None:
    faults(stack, hold_ack=True, drop_receipts=True)
    stack.text("wait-1", NAME, CONTACT, "outcome unknown")
    stack.text("wait-2", NAME, CONTACT, "after it")
    stack.streams.flush()
    stack.streams.wait_result("wait-1", "unsettled")
    assert states(stack, "wait-2") == ["queued"]
    faults(stack, hold_ack=False, drop_receipts=False)
    stack.streams.wait_result("wait-1", "sent")
    stack.streams.wait_result("wait-2", "sent")
    ids = {
        each["command_id"]: each["key"]["id"]
        for each in stack.messages(NAME, "out")
        if each["command_id"] in ("wait-1", "wait-2")
    }
    wait_until(lambda: stack.ledger_counts().keys() >= set(ids.values()), 30, "both arrived")
    assert [stack.ledger_counts()[ids[name]] for name in ("wait-1", "wait-2")] == [1, 1]
    place = [each["id"] for each in stack.simulator.received(dedupe=True)]
    assert place.index(ids["wait-1"]) < place.index(ids["wait-2"])


def test_a_reach_out_lock_is_final(stack: ConnectorStack) -> None:
    faults(stack, ack_error={"code": 463, "n": 1})
    stack.text("locked-1", NAME, OTHER, "hello stranger")
    stack.streams.flush()
    result = stack.streams.wait_result("locked-1", "failed")
    assert (result["error"]["code"], result["error"]["upstream_code"]) == ("wa.reachout_locked", "463")


@pytest.mark.parametrize("fault", ["duplicate", "same_id_new_ciphertext"])
def test_a_message_that_comes_twice_is_one_event(stack: ConnectorStack, fault: str) -> None:
    faults(stack, **{fault: 1})
    first = stack.simulator.say(CONTACT, PHONE, f"twice by {fault}")
    second = stack.simulator.say(CONTACT, PHONE, "the next one")
    wait_until(lambda: arrived(stack, first) and arrived(stack, second), 30, "both are in the log")
    assert (arrived(stack, first), arrived(stack, second)) == (1, 1)


def test_a_damaged_message_is_told_and_comes_again(stack: ConnectorStack) -> None:
    faults(stack, corrupt=1)
    message_id = stack.simulator.say(CONTACT, PHONE, "damaged on the way")
    wait_until(lambda: arrived(stack, message_id), 30, "it came again")
    assert arrived(stack, message_id, "message.undecryptable") == 1
    assert arrived(stack, message_id) == 1


def test_a_lost_socket_is_opened_again(stack: ConnectorStack) -> None:
    def told() -> list[str]:
        return [each["state"] for each in stack.events("events.session", NAME)]

    before = len(told())
    stack.simulator.call("POST", f"/v1/phones/{PHONE}/kick", hard=True)
    wait_until(lambda: "offline" in told()[before:], 40, "the loss is told")
    wait_until(lambda: "online" in told()[before:], 40, "online again")
    message_id = stack.simulator.say(CONTACT, PHONE, "are you back?")
    wait_until(lambda: arrived(stack, message_id) == 1, 30, "it is in the log")


def test_replaced_means_ownership_lost_until_the_instance_changes(stack: ConnectorStack) -> None:
    stack.simulator.call("POST", f"/v1/phones/{PHONE}/kick", conflict="replaced")
    stack.wait_state(NAME, "replaced")
    epoch = stack.shown(NAME)["epoch"]
    message_id = stack.simulator.say(CONTACT, PHONE, "who is there?")
    stack.connector.kill()
    stack.start()
    stack.wait_state(NAME, "replaced")
    assert stack.shown(NAME)["epoch"] == epoch
    stack.instance(NAME, version=2)
    stack.wait_state(NAME, "online")
    wait_until(lambda: arrived(stack, message_id) == 1, 30, "it waited for us")


def test_a_removed_device_ends_the_queue_and_can_be_paired_again(stack: ConnectorStack) -> None:
    faults(stack, hold_ack=True, drop_receipts=True)
    stack.text("gone-1", NAME, CONTACT, "on its way")
    stack.text("gone-2", NAME, CONTACT, "waiting")
    stack.streams.flush()
    stack.streams.wait_result("gone-1", "sending")
    stack.simulator.call("POST", f"/v1/phones/{PHONE}/kick", remove=True)
    stack.wait_state(NAME, "logged_out")
    stack.streams.wait_result("gone-1", "unknown")
    assert stack.streams.wait_result("gone-2", "failed")["error"]["code"] == "wa.logged_out"
    faults(stack, hold_ack=False, drop_receipts=False)
    known = len(stack.events("pairing", NAME))
    stack.command("pair", "again-1", NAME)
    stack.streams.flush()
    codes = wait_until(
        lambda: [each["qr"] for each in stack.events("pairing", NAME)[known:] if each["qr"]], 30, "a new QR code"
    )
    stack.simulator.call("POST", f"/v1/phones/{PHONE}/scan", qr=codes[-1])
    stack.wait_state(NAME, "online")
    assert stack.finals()["again-1"] == ["done"]
    message_id = stack.simulator.say(CONTACT, PHONE, "new device, same chat")
    wait_until(lambda: arrived(stack, message_id) == 1, 30, "it is in the log")


def test_every_final_is_the_only_one(stack: ConnectorStack) -> None:
    assert {name: told for name, told in stack.finals().items() if len(told) != 1} == {}
