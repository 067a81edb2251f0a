"""Records of every topic that the sink reads, and what a set of them must look like in ClickHouse."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Iterable
from typing import Any

from analytics import agreement
from analytics.client import connected
from analytics.sink.rows import LATEST_MS
from core import ids
from core.envelope import envelope
from core.settings import ClickHouseSettings
from tests.support.clickhouse import query

Record = dict[str, Any]
HOUR_MS = 3_600_000
_TOLD = 10
# 2026-03-01, the first hour.
BASE_MS = 1_772_323_200_000


def an_envelope(instance: str, number: int, occurred_at: int, **more: Any) -> Record:
    event_id = more.pop("event_id", str(uuid.uuid5(ids.NAMESPACE, f"{instance}/{number}")))
    return envelope(
        event_id=event_id,
        instance_id=instance,
        generation=1,
        occurred_at=occurred_at,
        received_at=more.pop("received_at", occurred_at + 40),
        **more,
    )


def message(instance: str, number: int, at: int, *, direction: str = "in", text: str = "hi", **more: Any) -> Record:
    contact = more.pop("contact", f"49170{number % 7:04d}@s.whatsapp.net")
    return {
        "envelope": an_envelope(instance, number, at, **more.pop("envelope", {})),
        "kind": "message.new",
        "direction": direction,
        "key": {"chat": contact, "from_me": direction == "out", "id": more.pop("message_id", f"M{number}")},
        "sender": {"jid": contact if direction == "in" else "me@s.whatsapp.net"},
        "chat_kind": "user",
        "content": {"type": "text", "text": text},
        **more,
    }


def status(instance: str, number: int, at: int, message_id: str, word: str, **more: Any) -> Record:
    rank = {"server_ack": 2, "delivered": 3, "read": 4, "played": 5}.get(word, 1)
    return {
        "envelope": an_envelope(instance, number, at),
        "chat": {"jid": "491700001@s.whatsapp.net"},
        "participant": {"jid": "491700001@s.whatsapp.net"},
        "message_id": message_id,
        "status": word,
        "rank": rank,
        **more,
    }


def session(instance: str, number: int, at: int, state: str, **more: Any) -> Record:
    return {"envelope": an_envelope(instance, number, at), "kind": f"session.{state}", "state": state, **more}


def result(instance: str, command_id: str, at: int, state: str, revision: int, **more: Any) -> Record:
    return {
        "result_id": ids.result_id(instance, command_id),
        "instance_id": instance,
        "command_id": command_id,
        "revision": revision,
        "final": state in ("sent", "failed"),
        "state": state,
        "type": "send",
        "occurred_at": at,
        **more,
    }


_FAMILIES = {"results": "result"}
# (topic, partition, hour, event id)
Event = tuple[str, int, int, str]


def identity(topic: str, partition: int, record: Record) -> Event:
    """What makes a record of the log one event. Its hour is the nearest that ClickHouse can tell."""
    if topic == "results":
        event_id = ids.result_event_id(record["result_id"], record["revision"], record["state"])
        return topic, partition, _hour(record["occurred_at"]), event_id
    head = record["envelope"]
    return topic, partition, _hour(head["occurred_at"]), head["event_id"]


def _hour(at_ms: int) -> int:
    return min(max(at_ms, 0), LATEST_MS) // HOUR_MS


def differences(log: Iterable[Event], settings: ClickHouseSettings) -> list[str]:
    """Distinct events of the log against ClickHouse, per partition and hour, rollups included; empty = equal."""
    events = set(log)
    there = {
        (topic, partition, hour, str(event_id))
        for topic, partition, hour, event_id in query(
            settings, "SELECT _topic, _partition, intDiv(toUnixTimestamp64Milli(ts), 3600000), event_id FROM events"
        )
    }
    out = []
    if events != there:
        out.append(f"events: {len(events - there)} missing, {len(there - events)} too many, {len(events)} wanted")
    per_hour = Counter((topic, partition, hour) for topic, partition, hour, _ in events)
    rows = query(
        settings,
        "SELECT _topic, _partition, intDiv(toUnixTimestamp64Milli(ts), 3600000) AS hour, count() "
        "FROM events FINAL GROUP BY 1, 2, 3",
    )
    found = {(topic, partition, hour): count for topic, partition, hour, count in rows}
    if found != dict(per_hour):
        out.append(f"rows per partition and hour: {sum(found.values())} against {sum(per_hour.values())}")
    families = Counter((_FAMILIES.get(topic) or topic.removeprefix("events."), hour) for topic, _, hour, _ in events)
    rolled = {
        (family, hour): count
        for family, hour, count in query(
            settings,
            "SELECT family, intDiv(toUnixTimestamp(hour), 3600) AS h, sum(events) FROM volume_hour GROUP BY family, h",
        )
    }
    if rolled != dict(families):
        out.append(f"rollup of volume: {sum(rolled.values())} against {sum(families.values())}")
    with connected(settings) as client:
        off = agreement.differences(client)
    out += [f"{one.place}: {one.off:+}" for one in off[:_TOLD]]
    return out + ([f"{len(off)} rows of rollups differ"] if len(off) > _TOLD else [])
