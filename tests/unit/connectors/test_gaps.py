"""What may have been missed becomes a gap event; what WhatsApp restricts becomes a limit event."""

from __future__ import annotations

import orjson
import pytest

from connectors.drivers.whatsmeow import host_pb2 as pb
from tests.support.connector import Rig, message, state

LATER_MS = 700_000


@pytest.fixture
def online() -> Rig:
    rig = Rig()
    rig.instance()
    rig.online()
    return rig


def damaged(message_id: str, reason: str = "decrypt_failed") -> pb.Event:
    like = message(message_id).message
    return pb.Event(
        received_at_ms=1,
        undecryptable=pb.Undecryptable(key=like.key, sender=like.sender, chat=like.chat, reason=reason),
    )


def gaps(rig: Rig) -> list[dict[str, object]]:
    return [each for each in rig.decoded("events.session") if each["kind"] == "session.gap"]


def test_a_follow_up_names_what_it_follows(online: Rig) -> None:
    online.driver.entry(damaged("M1"), message("M2"))
    online.turn()
    online.driver.entry(message("M1", "after all"))
    online.turn()
    told = {(each["kind"], each["key"]["id"]): each for each in online.decoded("events.message")}
    first = told["message.undecryptable", "M1"]
    assert told["message.new", "M1"]["follow_up_of"] == first["envelope"]["event_id"]
    assert told["message.new", "M2"]["follow_up_of"] is None
    online.clock.advance(LATER_MS)
    online.turn()
    assert gaps(online) == []


def test_no_follow_up_is_a_gap_told_once_over_a_restart(online: Rig) -> None:
    online.driver.entry(damaged("M1"), damaged("M2"), damaged("M3", "view_once"))
    online.turn()
    online.start()
    online.clock.advance(LATER_MS)
    online.settle()
    (gap,) = gaps(online)
    assert (gap["reason"], gap["counts"]) == ("undecryptable", {"messages": 2})
    assert [each["id"] for each in orjson.loads(str(gap["details"]))["messages"]] == ["M1", "M2"]
    online.clock.advance(LATER_MS)
    online.settle()
    assert len(gaps(online)) == 1


def test_the_time_away_is_a_gap(online: Rig) -> None:
    online.driver.entry(state("REPLACED"))
    online.driver.gone("replaced", may_reopen=False)
    online.settle()
    online.clock.advance(5_000)
    online.instance(version=2)
    online.settle()
    online.driver.entry(state("ONLINE"))
    online.turn()
    (gap,) = gaps(online)
    assert gap["reason"] == "replaced"
    assert gap["counts"]["away_ms"] >= 5_000  # type: ignore[index]
    online.driver.entry(state("OFFLINE"), state("ONLINE"))
    online.turn()
    assert len(gaps(online)) == 1


def test_a_notice_that_comes_twice_is_one_event(online: Rig) -> None:
    notice = pb.Event(
        received_at_ms=1,
        limit=pb.LimitNotice(kind="timelock", active=True, until_ms=9_000, reason="RESTRICT", occurred_at_ms=5),
    )
    online.driver.entry(notice)
    online.turn()
    online.driver.entry(notice)
    online.turn()
    (told,) = online.decoded("events.limit")
    assert (told["limit"], told["until"], told["reason"]) == ("timelock", 9_000, "RESTRICT")
