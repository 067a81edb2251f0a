"""Evidence is read from the log and the ledger as they are, every entry with its place."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from compose.chaos import evidence
from compose.demo.dump import Entry
from compose.demo.stored import Comparison
from core.histories import Claim
from core.ids import partition_for
from core.verdict import DOUBLE_OWNERSHIP, REORDERED, UNSETTLED, Evidence, judge

PHONES = {"sales-1": "4915100"}
ANN = "4917200"
COUNT = 8


def event(offset: int, kind: str, message_id: str, direction: str = "in", seq: int = 0) -> Entry:
    envelope = {"instance_id": "sales-1", "session_epoch": 1, "seq": seq or offset + 1}
    record = {"envelope": envelope, "direction": direction, "kind": kind, "key": {"id": message_id}}
    return Entry("events.message", 0, offset, 0, record)


def command(offset: int, command_id: str) -> Entry:
    record = {"instance_id": "sales-1", "command_id": command_id, "type": "send", "to": ANN}
    return Entry("commands", 0, offset, 0, record)


def result(offset: int, command_id: str, state: str, message_id: str | None, *, is_final: bool = True) -> Entry:
    record = {
        "instance_id": "sales-1",
        "command_id": command_id,
        "result_id": f"r-{command_id}",
        "state": state,
        "message_id": message_id,
        "type": "send",
        "final": is_final,
    }
    return Entry("results", 0, offset, 0, record)


class Log:
    """Stands for the dump."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        self._entries = entries

    def entries(self, topic: str) -> Iterator[Entry]:
        return (entry for entry in self._entries if entry.topic == topic)


class Ledger:
    """Stands for the simulator."""

    def __init__(self, sent: Sequence[str], received: Sequence[str], own_sent_ms: int) -> None:
        self._sent, self._received, self._own_sent_ms = sent, received, own_sent_ms

    def ledger(self, *, dedupe: bool) -> dict[str, list[dict[str, Any]]]:
        assert not dedupe, "deduplication would hide what is looked for"
        me, other = "4915100:3@s.whatsapp.net", f"{ANN}@s.whatsapp.net"
        return {
            "sent": [{"sender": other, "to": me, "id": each} for each in self._sent]
            + [{"sender": me, "to": other, "id": "own", "at_ms": self._own_sent_ms, "login_at_ms": 500}],
            "received": [{"sender": me, "recipient": other, "id": each} for each in self._received],
        }


def collect(
    log: Sequence[Entry],
    sent: Sequence[str] = (),
    received: Sequence[str] = (),
    claims: Sequence[Claim] = (),
    own_sent_ms: int = 600,
) -> Evidence:
    acknowledged = [("sales-1", entry.record["command_id"]) for entry in log if entry.topic == "commands"]
    ledger = Ledger(sent, received, own_sent_ms)
    return evidence.collect(Log(log), ledger, PHONES, acknowledged, [], claims, [], COUNT, [], Comparison())  # type: ignore[arg-type]


def test_a_whole_run_is_clean_and_every_key_has_its_places() -> None:
    log = [
        event(0, "message.new", "m-1"),
        command(7, "c-1"),
        result(3, "c-1", "sending", None, is_final=False),
        result(4, "c-1", "sent", "OUT1"),
        event(1, "message.new", "OUT1", "out"),
    ]
    found = collect(log, ["m-1"], ["OUT1"])
    verdict = judge(found)
    assert verdict.clean, verdict.lines()
    assert found.places["sales-1", "c-1"] == ["commands[0]@7", "results[0]@4 sent"]
    assert found.places["sales-1", "m-1"] == ["events.message[0]@0"]


def test_a_message_that_came_good_later_has_the_place_of_its_first_event() -> None:
    undecrypted = [event(0, "message.undecryptable", "m-1"), event(1, "message.new", "m-2")]
    assert judge(collect([*undecrypted, event(2, "message.new", "m-1")], ["m-1", "m-2"])).clean
    swapped = collect([event(0, "message.new", "m-2"), event(1, "message.new", "m-1")], ["m-1", "m-2"])
    assert [each.kind for each in judge(swapped).violations] == [REORDERED]


def test_order_out_is_that_of_the_command_topic_at_the_recipient() -> None:
    log = [command(0, "c-1"), command(1, "c-2")]
    log += [result(0, "c-2", "sent", "OUT2"), result(1, "c-1", "sent", "OUT1")]
    log += [event(0, "message.new", "OUT2", "out"), event(1, "message.new", "OUT1", "out")]
    assert judge(collect(log, received=["OUT1", "OUT2"])).clean
    [violation] = judge(collect(log, received=["OUT2", "OUT1"])).violations
    assert violation.key == ("sales-1", ANN, "OUT1")


def test_a_command_without_final_result_is_unsettled() -> None:
    log = [command(0, "c-1"), result(0, "c-1", "queued", None, is_final=False)]
    assert [each.kind for each in judge(collect(log)).violations] == [UNSETTLED]


def test_what_the_ledger_says_of_our_sends_is_held_against_the_claims() -> None:
    where = partition_for("sales-1", COUNT)
    claims = [
        Claim(where, 0, "claim", "connector-1", "a", "", 400),
        Claim(where, 1, "claim", "connector-2", "b", "", 800),
    ]
    assert judge(collect([], claims=claims, own_sent_ms=700)).clean
    [violation] = judge(collect([], claims=claims, own_sent_ms=900)).violations
    assert (violation.kind, violation.key) == (DOUBLE_OWNERSHIP, ("sales-1", "own"))


def state(offset: int, name: str) -> Entry:
    envelope = {"instance_id": "sales-1", "session_epoch": 1, "seq": offset + 1}
    return Entry("events.session", 0, offset, 0, {"envelope": envelope, "state": name})


def test_an_instance_that_does_not_come_back_is_unsettled() -> None:
    assert judge(collect([state(0, "replaced"), state(1, "online"), state(2, "gap")])).clean
    [violation] = judge(collect([state(0, "online"), state(1, "replaced"), state(2, "gap")])).violations
    assert (violation.kind, violation.key) == (UNSETTLED, ("sales-1", "replaced"))
