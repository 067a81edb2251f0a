"""A session from pairing to logout against the simulated WhatsApp, on real Kafka, registry and host."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.support.connector_stack import ConnectorStack, running_connector_stack
from tests.support.kafka import RunningKafka
from tests.support.waiting import wait_until

pytestmark = pytest.mark.timeout(180)
PHONE, CONTACT = "4915100001", "4915100002"
NAME = "flow-1"


@pytest.fixture(scope="module")
def stack(kafka: RunningKafka, prefix: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ConnectorStack]:
    with running_connector_stack(kafka, prefix, tmp_path_factory.mktemp("connector")) as made:
        made.start()
        made.simulator.contact(CONTACT, "Ann")
        made.pair(NAME, PHONE)
        yield made


def test_pairing_is_told_step_by_step(stack: ConnectorStack) -> None:
    kinds = [each["kind"].removeprefix("session.") for each in stack.events("events.session", NAME)]
    order = [kinds.index(kind) for kind in ("created", "unpaired", "pairing", "paired", "online")]
    assert order == sorted(order)
    assert stack.finals()[f"pair-{NAME}"] == ["done"]
    assert all(each["envelope"]["simulated"] for each in stack.events("events.session", NAME))
    assert stack.shown(NAME)["simulated"] is True


def test_a_text_comes_in_with_its_quote_and_mentions(stack: ConnectorStack) -> None:
    message_id = stack.simulator.say(
        CONTACT,
        PHONE,
        "hello @4915100001",
        mentions=[f"{PHONE}@s.whatsapp.net"],
        quote={"id": "Q1", "sender": f"{PHONE}@s.whatsapp.net", "text": "before"},
    )
    (event,) = wait_until(
        lambda: [each for each in stack.messages(NAME) if each["key"]["id"] == message_id],
        30,
        "the message is in the log",
    )
    assert event["kind"] == "message.new"
    assert event["content"]["text"] == "hello @4915100001"
    assert event["content"]["context"]["mentions"] == [f"{PHONE}@s.whatsapp.net"]
    assert event["content"]["context"]["quoted"]["key"]["id"] == "Q1"
    assert event["content"]["context"]["quoted"]["text"] == "before"
    assert event["sender"]["pn"] == f"{CONTACT}@s.whatsapp.net"


def test_a_text_goes_out_and_its_receipts_come_back(stack: ConnectorStack) -> None:
    stack.text("out-1", NAME, CONTACT, "good day", metadata={"ticket": "12"})
    stack.streams.flush()
    stack.streams.wait_result("out-1", "sent")
    states = [(each["state"], each["revision"]) for each in stack.streams.results("out-1")]
    assert states == [("queued", 101), ("sending", 102), ("sent", 103)]
    (event,) = [each for each in stack.messages(NAME, "out") if each["command_id"] == "out-1"]
    message_id = event["key"]["id"]
    assert event["content"]["text"] == "good day"
    assert event["metadata"] == {"ticket": "12"}
    (row,) = wait_until(
        lambda: [each for each in stack.simulator.received() if each["id"] == message_id], 30, "delivered"
    )
    assert row["text"] == "good day"
    wait_until(
        lambda: [
            each
            for each in stack.events("events.status", NAME)
            if each["message_id"] == message_id and each["rank"] >= 3
        ],
        30,
        "a delivery receipt",
    )


def test_commands_of_every_kind_end_once(stack: ConnectorStack) -> None:
    message_id = stack.simulator.say(CONTACT, PHONE, "react to this")
    wait_until(lambda: message_id in stack.in_counts(NAME), 30, "the message is in the log")
    own = next(each for each in stack.messages(NAME, "out") if each["command_id"] == "out-1")["key"]
    target = {"chat": own["chat"], "from_me": True, "id": own["id"]}
    theirs = {"chat": own["chat"], "sender": own["chat"], "from_me": False, "id": message_id}
    stack.command(
        "react", "react-1", NAME, to=CONTACT, content={"type": "reaction", "reaction": "👍", "target": theirs}
    )
    stack.command("edit", "edit-1", NAME, to=CONTACT, content={"type": "edit", "text": "better", "target": target})
    stack.command("revoke", "revoke-1", NAME, to=CONTACT, content={"type": "revoke", "target": target})
    stack.command("read", "read-1", NAME, to=CONTACT, read={"message_ids": [message_id]})
    stack.command("typing", "typing-1", NAME, to=CONTACT, presence="composing")
    # Neither the account nor the instance has a name yet, without which WhatsApp takes no presence.
    stack.command("presence", "presence-1", NAME, presence="available")
    stack.command("vote", "vote-1", NAME, to=CONTACT)
    stack.command("cancel", "cancel-1", NAME, target_command_id="out-1")
    stack.streams.flush()
    expected = {
        "react-1": ["sent"],
        "edit-1": ["sent"],
        "revoke-1": ["sent"],
        "read-1": ["done"],
        "typing-1": ["done"],
        "presence-1": ["failed"],
        "vote-1": ["rejected"],
        "cancel-1": ["rejected"],
    }
    wait_until(lambda: expected.keys() <= stack.finals().keys(), 30, f"finals of {sorted(expected)}")
    assert {name: stack.finals()[name] for name in expected} == expected
    kinds = {each["command_id"]: each["kind"] for each in stack.messages(NAME, "out")}
    assert (kinds["react-1"], kinds["edit-1"], kinds["revoke-1"]) == (
        "message.reaction",
        "message.edit",
        "message.revoke",
    )


def test_stopped_and_online_again(stack: ConnectorStack) -> None:
    stack.instance(NAME, "stopped", version=2)
    stack.wait_state(NAME, "stopped")
    message_id = stack.simulator.say(CONTACT, PHONE, "while away")
    stack.instance(NAME, "online", version=3)
    stack.wait_state(NAME, "online")
    wait_until(lambda: message_id in stack.in_counts(NAME), 30, "the message waited for us")


def test_an_orderly_stop_is_quick_and_takes_the_host_along(stack: ConnectorStack) -> None:
    host = stack.host_pid()
    code, seconds = stack.connector.stop()
    assert code == 0
    assert seconds < 5
    with pytest.raises(ProcessLookupError):
        os.kill(host, 0)
    stack.start()
    stack.wait_state(NAME, "online")


def test_logout_ends_as_done_and_the_state_is_archived(stack: ConnectorStack) -> None:
    stack.command("logout", "logout-1", NAME)
    stack.streams.flush()
    stack.streams.wait_result("logout-1", "done")
    stack.wait_state(NAME, "logged_out")
    assert stack.finals()["logout-1"] == ["done"]


def test_deleting_leaves_no_state(stack: ConnectorStack) -> None:
    stack.instance(NAME, "deleted", version=4)

    def left() -> set[bytes]:
        keys: dict[bytes, bytes | None] = {}
        for record in stack.streams.dump("sessions"):
            keys[record.key or b""] = record.value
        return {key for key, value in keys.items() if key.startswith(NAME.encode()) and value is not None}

    wait_until(lambda: not left(), 30, f"no state is left, log: {stack.connector.tail()}")
