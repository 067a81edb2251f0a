"""Edits and deletions that are refused here, at the intake and when a waiting one's turn comes."""

from __future__ import annotations

from typing import Any

import pytest

from connectors.amend import EDIT_WINDOW_MS
from tests.support.connector import START_MS, Rig, finished, started

THEIRS = "88@lid"


@pytest.fixture
def rig() -> Rig:
    """A session that sent one message."""
    made = Rig()
    made.instance()
    made.online()
    made.turn(made.text("c1"))
    made.settle()
    made.driver.entry(started("c1", made.driver.sent[0].message_id))
    made.driver.entry(finished("c1", chat=THEIRS))
    made.settle()
    return made


def _content(rig: Rig, kind: str, **target: Any) -> dict[str, Any]:
    key = {"chat": THEIRS, "from_me": True, "id": rig.decoded("events.message")[0]["key"]["id"], **target}
    return {"type": kind, "target": key, "text": "better" if kind == "edit" else None}


def _final(rig: Rig, command_id: str) -> tuple[str, str, str]:
    (final,) = [each for each in rig.decoded("results") if each["command_id"] == command_id and each["final"]]
    return final["state"], final["error"]["code"], final["error"]["field"]


def test_an_edit_within_its_window_goes_out(rig: Rig) -> None:
    rig.clock.advance(EDIT_WINDOW_MS)
    rig.turn(rig.command("edit", "e1", to=THEIRS, content=_content(rig, "edit")))
    rig.settle()
    assert rig.driver.sent[-1].content.type == "edit"
    rig.driver.entry(started("e1", rig.driver.sent[-1].message_id))
    rig.driver.entry(finished("e1", chat=THEIRS))
    rig.settle()
    event = rig.decoded("events.message")[-1]
    assert (event["kind"], event["content"]["text"], event["content"]["inner_type"]) == (
        "message.edit",
        "better",
        "text",
    )
    assert event["content"]["edited_at"] == START_MS + 9


def test_a_late_edit_is_rejected(rig: Rig) -> None:
    rig.clock.advance(EDIT_WINDOW_MS + 2_000)
    rig.start()
    rig.settle()
    rig.turn(rig.command("edit", "e1", to=THEIRS, content=_content(rig, "edit")))
    assert _final(rig, "e1") == ("rejected", "api.expired", "content.target.id")


def test_an_edit_that_waited_too_long_fails(rig: Rig) -> None:
    rig.turn(rig.text("c2", to=THEIRS))
    rig.turn(rig.command("edit", "e1", to=THEIRS, content=_content(rig, "edit")))
    rig.settle()
    rig.clock.advance(EDIT_WINDOW_MS + 2_000)
    rig.driver.entry(started("c2", rig.driver.sent[-1].message_id))
    rig.driver.entry(finished("c2", chat=THEIRS))
    rig.settle()
    assert [each.content.type for each in rig.driver.sent] == ["text", "text"]
    assert _final(rig, "e1") == ("failed", "api.expired", "content.target.id")


@pytest.mark.parametrize("kind", ["edit", "revoke"])
def test_what_others_wrote_stays_in_a_chat_of_two(rig: Rig, kind: str) -> None:
    rig.turn(rig.command(kind, "e1", to=THEIRS, content=_content(rig, kind, from_me=False, sender=THEIRS)))
    assert _final(rig, "e1") == ("rejected", "api.validation", "content.target.sender")


@pytest.mark.parametrize("sender", ["77@lid", "4915199@s.whatsapp.net", "4915199", None])
def test_an_own_message_is_known_by_every_address(rig: Rig, sender: str | None) -> None:
    rig.turn(rig.command("edit", "e1", to=THEIRS, content=_content(rig, "edit", from_me=False, sender=sender)))
    rig.settle()
    assert rig.driver.sent[-1].content.type == "edit"


def test_a_group_administrator_may_delete(rig: Rig) -> None:
    group = "123456789012345678@g.us"
    content = _content(rig, "revoke", chat=group, from_me=False, sender=THEIRS)
    rig.turn(rig.command("revoke", "r1", to=group, content=content))
    rig.settle()
    assert rig.driver.sent[-1].content.target.sender == THEIRS
