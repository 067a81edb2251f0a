"""Pairing by code, logging out and pairing anew; what is shown for a moment: typing, presence, read marks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from connectors.state_items import ARCHIVE, OWN, data_key_record_key, open_all, split_key
from core.security.keyring import Keyring
from tests.support.connector_stack import ConnectorStack, running_connector_stack
from tests.support.kafka import RunningKafka
from tests.support.waiting import wait_until

pytestmark = pytest.mark.timeout(120)
PHONE, OTHER_PHONE, CONTACT = "4915120001", "4915120002", "4915120003"
NAME, NAMELESS = "codes-1", "codes-2"
Record = dict[str, Any]


@pytest.fixture(scope="module")
def stack(kafka: RunningKafka, prefix: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ConnectorStack]:
    with running_connector_stack(kafka, prefix, tmp_path_factory.mktemp("connector")) as made:
        made.start()
        made.simulator.contact(CONTACT, "Ann")
        yield made


def ask(stack: ConnectorStack, command_id: str, kind: str, name: str = NAME, **fields: Any) -> None:
    stack.command(kind, command_id, name, **fields)
    stack.streams.flush()


def code_of(stack: ConnectorStack, command_id: str, phone: str) -> Record:
    """The code that a pair command shows."""
    ask(stack, command_id, "pair", pairing={"method": "code", "phone": f"+{phone}"})
    return wait_until(
        lambda: next(
            (each for each in stack.events("pairing", NAME) if each["command_id"] == command_id and each["code"]), {}
        ),
        30,
        f"a code for {command_id}, log: {stack.connector.tail()}",
    )


def enter(stack: ConnectorStack, phone: str, code: str) -> bool:
    """What the owner of the phone does with a code; whether the phone took it."""
    return stack.simulator.http.post(f"/v1/phones/{phone}/code", json={"code": code}).is_success


def final(stack: ConnectorStack, command_id: str) -> Record:
    def last() -> Record:
        return next((each for each in stack.streams.results(command_id) if each["final"]), {})

    return wait_until(last, 30, f"{command_id} is final")


def device(stack: ConnectorStack, name: str = NAME) -> str:
    """Our device at WhatsApp: its address with the device's number."""
    phones = stack.simulator.call("GET", "/v1/phones")
    account = stack.events("events.session", name)[-1]["self"] or {}
    return next((dev["jid"] for each in phones for dev in each["devices"] if each["pn"] == account.get("pn")), "")


def items(stack: ConnectorStack, name: str = NAME) -> dict[str, bytes]:
    """The instance's committed state, as a restart would read it."""
    records: dict[bytes, bytes | None] = {}
    for record in stack.streams.dump("sessions"):
        if record.key is not None and split_key(record.key)[0] == name:
            records[record.key] = record.value
    kept = {key: value for key, value in records.items() if value is not None}
    keyring = Keyring.load(Path(stack.env["WHARF_DATA_DIR"]) / "keys.json", None)
    data_key = keyring.unwrap(name, kept.pop(data_key_record_key(name)))
    return open_all(data_key, kept.items())


def test_a_wrong_code_changes_nothing_and_a_newer_pair_command_voids_the_older(stack: ConnectorStack) -> None:
    stack.instance(NAME, label="Sales")
    shown = code_of(stack, "pair-1", PHONE)
    assert len(shown["code"].replace("-", "")) == 8
    assert not enter(stack, PHONE, "ABCDEFGH")
    assert "pair-1" not in stack.finals()
    newer = code_of(stack, "pair-2", PHONE)
    assert final(stack, "pair-1")["error"]["code"] == "api.conflict"
    assert newer["code"] != shown["code"]
    assert not enter(stack, PHONE, shown["code"])
    assert "pair-2" not in stack.finals()


def test_a_code_pairs(stack: ConnectorStack) -> None:
    assert enter(stack, PHONE, code_of(stack, "pair-3", PHONE)["code"])
    assert final(stack, "pair-3")["state"] == "done"
    stack.wait_state(NAME, "online")
    ask(stack, "pair-4", "pair")
    assert final(stack, "pair-4")["error"]["code"] == "api.conflict", "it is paired already"


def test_typing_reading_and_presence_reach_the_contact(stack: ConnectorStack) -> None:
    simulator = stack.simulator
    message_id = simulator.say(CONTACT, PHONE, "read me")
    wait_until(lambda: message_id in stack.in_counts(NAME), 30, "the message is in the log")
    simulator.call("POST", f"/v1/contacts/{CONTACT}/follow", who=PHONE)
    ask(stack, "read-1", "read", to=CONTACT, read={"message_ids": [message_id]})
    for kind in ("composing", "recording", "paused"):
        ask(stack, f"typing-{kind}", "typing", to=CONTACT, presence=kind)
    ask(stack, "presence-on", "presence", presence="available")
    ask(stack, "presence-off", "presence", presence="unavailable")
    for command_id in (
        "read-1",
        "typing-composing",
        "typing-recording",
        "typing-paused",
        "presence-on",
        "presence-off",
    ):
        assert final(stack, command_id)["state"] == "done", command_id

    def seen() -> set[tuple[str, str, str]]:
        return {
            (each["kind"], each["from"], each["value"])
            for each in simulator.call("GET", f"/v1/contacts/{CONTACT}/seen")
        }

    expected = {
        ("receipt", "read"),
        ("typing", "composing"),
        ("typing", "recording"),
        ("typing", "paused"),
        ("presence", "available"),
    }
    wait_until(lambda: {(kind, PHONE, value) for kind, value in expected} <= seen(), 30, f"all is seen: {seen()}")


def test_typing_and_presence_of_contacts_come_in(stack: ConnectorStack) -> None:
    simulator = stack.simulator

    def show(what: str, **body: Any) -> None:
        simulator.call("POST", f"/v1/contacts/{CONTACT}/{what}", **body)

    show("typing", to=PHONE, typing=True, recording=False)
    show("typing", to=PHONE, typing=False, recording=True)
    show("typing", to=PHONE, typing=False, recording=False)

    def typing() -> list[tuple[str, str]]:
        chats = [each for each in stack.events("events.chat", NAME) if each["kind"] == "chat.typing"]
        return [(each["typing"], each["actor"]["pn"] or "") for each in chats]

    pn = f"{CONTACT}@s.whatsapp.net"
    wait_until(lambda: typing() == [("composing", pn), ("recording", pn), ("paused", pn)], 30, f"typing: {typing()}")

    def available() -> list[bool]:
        contacts = [each for each in stack.events("events.contact", NAME) if each["kind"] == "contact.presence"]
        return [each["available"] for each in contacts if each["contact"]["pn"] == pn]

    ask(stack, "follow-1", "presence", to=CONTACT, presence="subscribe")
    assert final(stack, "follow-1")["state"] == "done"
    show("presence", available=True)
    wait_until(lambda: True in available(), 30, f"the contact is online: {available()}")
    simulator.call("POST", f"/v1/phones/{PHONE}/kick", hard=True)
    before = len(available())
    wait_until(lambda: len(available()) > before, 30, "its presence is asked for again after a reconnect")
    show("presence", available=False)
    wait_until(lambda: available()[-1] is False, 30, f"the contact is away: {available()}")
    assert not [each for each in stack.events("events.session", NAME) if each["reason"] in ("ChatPresence", "Presence")]


def test_logging_out_archives_and_pairing_anew_begins_afresh(stack: ConnectorStack) -> None:
    stack.text("before-1", NAME, CONTACT, "before")
    stack.streams.flush()
    stack.streams.wait_result("before-1", "sent")
    old, first = items(stack), device(stack)
    stack.simulator.call("POST", f"/v1/phones/{PHONE}/faults", hold_ack=True, drop_receipts=True)
    stack.text("open-1", NAME, CONTACT, "its ack never comes")
    stack.text("open-2", NAME, CONTACT, "behind it")
    stack.streams.flush()
    stack.streams.wait_result("open-1", "sending")
    ask(stack, "logout-1", "logout")
    assert final(stack, "logout-1")["state"] == "done"
    assert final(stack, "open-2")["error"]["code"] == "wa.logged_out"
    assert final(stack, "open-1")["state"] == "unknown"
    stack.wait_state(NAME, "logged_out")
    left = items(stack)
    archived = {name.removeprefix(ARCHIVE): value for name, value in left.items() if name.startswith(ARCHIVE)}
    assert [name for name in left if not name.startswith((OWN, ARCHIVE))] == []
    assert archived["d"] == old["d"], "the old device's keys are kept aside"
    assert device(stack) == ""

    stack.connector.kill()
    stack.start()
    assert enter(stack, OTHER_PHONE, code_of(stack, "pair-5", OTHER_PHONE)["code"])
    assert final(stack, "pair-5")["state"] == "done"
    stack.wait_state(NAME, "online")
    fresh = items(stack)
    assert fresh["d"] != old["d"]
    assert fresh[ARCHIVE + "d"] == old["d"]
    assert device(stack) not in ("", first)
    stack.text("after-1", NAME, CONTACT, "from the new device")
    stack.streams.flush()
    stack.streams.wait_result("after-1", "sent")
    said = wait_until(
        lambda: [row for row in stack.simulator.received() if row["text"] == "from the new device"], 30, "it arrived"
    )
    assert [row["sender"] for row in said] == [OTHER_PHONE]
    assert set(stack.finals()) >= {"open-1", "open-2", "after-1"}
    assert all(len(states) == 1 for states in stack.finals().values())


def test_presence_without_a_name_says_what_to_do(stack: ConnectorStack) -> None:
    stack.pair(NAMELESS, PHONE)
    ask(stack, "nameless-1", "presence", NAMELESS, presence="available")
    told = final(stack, "nameless-1")
    assert (told["state"], told["error"]["code"]) == ("failed", "wa.invalid")
    assert "push_name" in told["error"]["message"]
