"""Everything about texts, both ways, against real clients: edits, deletions, reactions, mentions, previews, timers."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.connector_stack import ConnectorStack, running_connector_stack
from tests.support.kafka import RunningKafka
from tests.support.waiting import wait_until

pytestmark = pytest.mark.timeout(120)
PHONE, CONTACT = "4915110001", "4915110002"
NAME = "texts-1"
THUMBNAIL = "/9j/4AAQ"
Record = dict[str, Any]


@pytest.fixture(scope="module")
def stack(kafka: RunningKafka, prefix: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ConnectorStack]:
    with running_connector_stack(kafka, prefix, tmp_path_factory.mktemp("connector")) as made:
        made.start()
        made.simulator.contact(CONTACT, "Ann")
        made.pair(NAME, PHONE)
        yield made


def act(stack: ConnectorStack, what: str, **body: Any) -> str:
    """What the contact does in the chat with us; the id of its message."""
    return str(stack.simulator.call("POST", f"/v1/contacts/{CONTACT}/{what}", to=PHONE, **body)["id"])


def event(stack: ConnectorStack, message_id: str) -> Record:
    """The message event of an id, once it is in the log."""
    return wait_until(
        lambda: next((each for each in stack.events("events.message", NAME) if each["key"]["id"] == message_id), {}),
        30,
        f"{message_id} is in the log",
    )


def send(stack: ConnectorStack, command_id: str, kind: str = "send", state: str = "sent", **fields: Any) -> Record:
    """The message event of a command that ended as `state`."""
    stack.command(kind, command_id, NAME, to=CONTACT, **fields)
    stack.streams.flush()
    stack.streams.wait_result(command_id, state)
    events = [each for each in stack.messages(NAME, "out") if each["command_id"] == command_id]
    return events[0] if events else {}


def arrived(stack: ConnectorStack, message_id: str) -> Record:
    """What the contact's client made of a message."""
    return wait_until(
        lambda: next((row for row in stack.simulator.received() if row["id"] == message_id), {}),
        30,
        f"{message_id} is with the contact",
    )


def text(said: str, **more: Any) -> Record:
    return {"type": "text", "text": said, **more}


def test_changes_come_in_with_their_target(stack: ConnectorStack) -> None:
    first = act(stack, "send", text="helo")
    ours = send(stack, "in-0", content=text("to react to"))["key"]["id"]
    edit = event(stack, act(stack, "edit", id=first, text="hello"))
    assert (edit["kind"], edit["content"]["type"], edit["content"]["inner_type"]) == ("message.edit", "edit", "text")
    assert edit["content"]["text"] == "hello"
    assert abs(edit["content"]["edited_at"] - time.time() * 1000) < 60_000
    assert (edit["content"]["target"]["id"], edit["content"]["target"]["from_me"]) == (first, False)
    reaction = event(stack, act(stack, "react", id=ours, emoji="👍"))
    assert (reaction["kind"], reaction["content"]["reaction"]) == ("message.reaction", "👍")
    assert (reaction["content"]["target"]["id"], reaction["content"]["target"]["from_me"]) == (ours, True)
    removed = event(stack, act(stack, "react", id=ours, emoji=""))
    assert removed["content"]["reaction"] == ""
    revoke = event(stack, act(stack, "revoke", id=first))
    assert (revoke["kind"], revoke["content"]["revoked_by"]) == ("message.revoke", "sender")
    assert (revoke["content"]["target"]["id"], revoke["content"]["target"]["from_me"]) == (first, False)
    by_admin = event(stack, act(stack, "revoke", id=ours, by_admin=True))
    assert (by_admin["content"]["revoked_by"], by_admin["content"]["target"]["from_me"]) == ("admin", True)


def test_changes_go_out_with_their_target(stack: ConnectorStack) -> None:
    theirs = event(stack, act(stack, "send", text="react to this"))["key"]
    first = send(stack, "out-0", content=text("helo"))["key"]
    edited = send(stack, "out-edit", "edit", content={"type": "edit", "text": "hello", "target": first})
    assert (edited["kind"], edited["content"]["text"], edited["content"]["inner_type"]) == (
        "message.edit",
        "hello",
        "text",
    )
    assert edited["content"]["edited_at"] == edited["envelope"]["occurred_at"]
    reactions: dict[str, Record] = {
        "out-react": {"type": "reaction", "reaction": "👍", "target": theirs},
        # In a chat of two the key needs no sender: who is not us is the other.
        "out-react-2": {"type": "reaction", "reaction": "🎉", "target": {**theirs, "sender": None}},
        "out-unreact": {"type": "reaction", "reaction": "", "target": theirs},
    }
    steps = [(edited, "message_edit", "hello", first["id"])]
    for name, content in reactions.items():
        reacted = send(stack, name, "react", content=content)
        steps.append((reacted, "reaction", content["reaction"], theirs["id"]))
    revoked = send(stack, "out-revoke", "revoke", content={"type": "revoke", "target": first})
    steps.append((revoked, "revoke", "", first["id"]))
    for told, kind, said, target in steps:
        assert told["content"]["target"]["id"] == target, kind
        row = arrived(stack, told["key"]["id"])
        assert (row["kind"], row["text"], row["target_id"]) == (kind, said, target)


def test_what_cannot_be_edited_is_told_with_code_and_field(stack: ConnectorStack) -> None:
    theirs = event(stack, act(stack, "send", text="mine"))["key"]
    send(stack, "not-ours", "edit", "rejected", content={"type": "edit", "text": "yours", "target": theirs})
    final = stack.streams.results("not-ours")[-1]
    assert (final["error"]["code"], final["error"]["field"]) == ("api.validation", "content.target.sender")


def test_mentions_quotes_and_previews_go_both_ways(stack: ConnectorStack) -> None:
    preview = {"url": "example.org/a", "title": "A", "description": "About A", "thumbnail": THUMBNAIL}
    came = event(stack, act(stack, "send", text="@all see example.org/a", mention_all=True, preview={**preview}))[
        "content"
    ]
    assert came["context"]["mention_all"] is True
    told = came["preview"]
    assert (told["url"], told["title"], told["description"]) == ("example.org/a", "A", "About A")
    assert told["thumbnail"] == b"\xff\xd8\xff\xe0\x00\x10"
    said = f"@all @{CONTACT} see example.org/a"
    went = send(
        stack,
        "around-1",
        content=text(
            said,
            preview=preview,
            context={"mention_all": True, "mentions": [CONTACT], "quoted": {"key": {"chat": CONTACT, "id": "Q1"}}},
        ),
    )
    row = arrived(stack, went["key"]["id"])
    details = row["details"]
    assert (row["text"], row["quoted_id"]) == (said, "Q1")
    assert details["quoted_sender"].partition("@")[0] == CONTACT
    assert (details["mention_all"], details["mentions"]) == (True, [f"{CONTACT}@s.whatsapp.net"])
    assert (details["url"], details["title"], details["description"], details["thumbnail"]) == (
        "example.org/a",
        "A",
        "About A",
        THUMBNAIL,
    )
    assert went["content"]["preview"]["thumbnail"] == b"\xff\xd8\xff\xe0\x00\x10"


def _timers(stack: ConnectorStack) -> list[int]:
    return [each["timer_s"] for each in stack.events("events.chat", NAME) if each["kind"] == "chat.timer"]


def _carried(stack: ConnectorStack, command_id: str, **context: Any) -> tuple[int, int, int | None]:
    """The timer of a message as the contact got it, when it was set, and as our own event tells it."""
    content = text(command_id, context=context) if context else text(command_id)
    went = send(stack, command_id, content=content)
    details = arrived(stack, went["key"]["id"]).get("details", {})
    told = (went["content"]["context"] or {}).get("ephemeral_s")
    return details.get("timer_s", 0), details.get("timer_set_at_s", 0), told


def test_disappearing_timers_are_learnt_carried_and_told(stack: ConnectorStack) -> None:
    assert _carried(stack, "timer-0") == (0, 0, None)
    setting = event(stack, act(stack, "timer", seconds=86_400))
    assert (setting["kind"], setting["content"]["type"], setting["content"]["timer_s"]) == (
        "message.system",
        "disappearing_timer",
        86_400,
    )
    set_at = setting["content"]["context"]["ephemeral_set_at"] // 1000
    assert _carried(stack, "timer-1") == (86_400, set_at, 86_400)
    assert _carried(stack, "timer-2", ephemeral_s=0)[0] == 0, "the command's own word counts"
    later = set_at + 100
    event(stack, act(stack, "send", text="shorter", timer_s=3_600, timer_set_at_s=later))
    assert _carried(stack, "timer-3") == (3_600, later, 3_600)
    stack.connector.kill()
    stack.start()
    stack.wait_state(NAME, "online")
    assert _carried(stack, "timer-4") == (3_600, later, 3_600), "it survives a restart"
    wait_until(lambda: _timers(stack) == [86_400, 3_600], 30, f"two changes are told: {_timers(stack)}")


def test_statuses_are_reduced_to_the_user(stack: ConnectorStack) -> None:
    went = send(stack, "status-1", content=text("read me"))
    message_id = went["key"]["id"]
    arrived(stack, message_id)
    stack.simulator.call("POST", f"/v1/contacts/{CONTACT}/read", **{"from": PHONE, "ids": [message_id]})

    def facts() -> list[tuple[str, str | None, int | None, bool]]:
        return [
            (each["status"], each["user_status"], each["user_rank"], each["raised"])
            for each in stack.events("events.status", NAME)
            if each["message_id"] == message_id
        ]

    wait_until(lambda: "read" in [each[1] for each in facts()], 30, f"it is read: {facts()}")
    assert facts() == [
        ("server_ack", "server_ack", 2, True),
        ("delivered", "delivered", 3, True),
        ("read", "read", 4, True),
    ]
