"""Whatever stands in the log, each record becomes a row or a dead letter with its cause, and the rest of the batch goes on."""

from __future__ import annotations

import copy
import io
import json
import secrets
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fastavro
import httpx
import pytest

from analytics.sink.decode import decode
from analytics.sink.rows import LATEST_MS, TOPICS
from core.errors import PoisonError
from schemas.catalogue import catalogue
from tests.support import events as make
from tests.support.clickhouse import RunningClickHouse, migrated, query
from tests.support.kafka import RunningKafka
from tests.support.sink import SECONDS, settled
from tests.support.streams import Streams, running_streams
from tests.support.waiting import wait_until

pytestmark = pytest.mark.timeout(600)
AT = make.BASE_MS
INSTANCE = "odd-1"
# Each with what its dead letter says.
Bad = list[tuple[str, bytes | None, str, str]]


@pytest.fixture
def streams(kafka: RunningKafka, clickhouse: RunningClickHouse, tmp_path: Path) -> Iterator[Streams]:
    name = f"odd_{secrets.token_hex(4)}"
    # A few records each, so that copies are in the same batch and in others.
    env = {**clickhouse.env(name), "WHARF_SINK__BATCH_RECORDS": "7", "WHARF_SINK__BATCH_MS": "100"}
    migrated(clickhouse, name)
    with running_streams(kafka, f"{name}.", tmp_path, **env) as running:
        yield running


def encoded(schema_id: int, schema: dict[str, Any], record: dict[str, Any]) -> bytes:
    out = io.BytesIO()
    out.write(struct.pack(">bI", 0, schema_id))
    fastavro.schemaless_writer(out, fastavro.parse_schema(copy.deepcopy(schema)), record)
    return out.getvalue()


def newer_status(streams: Streams) -> bytes:
    """Of a version to come: a word and a field that this one does not know."""
    newer = copy.deepcopy(catalogue().by_topic["events.status"])
    newer["fields"].append({"name": "added", "type": ["null", "string"], "default": None})
    next(f for f in newer["fields"] if f["name"] == "status")["type"]["symbols"].append("teleported")
    subject = f"{streams.settings.kafka.prefix}events.status-value"
    url = f"{streams.settings.registry.url}/subjects/{subject}/versions"
    answer = httpx.post(url, json={"schema": json.dumps(newer)})
    assert answer.is_success, answer.text
    record = make.status(INSTANCE, 900, AT, "M900", "teleported", added="x")
    return encoded(answer.json()["id"], newer, record)


def bad_records(streams: Streams) -> Bad:
    def message(number: int, text: str = "hi", **more: Any) -> bytes:
        return streams.codec.encode("events.message", make.message(INSTANCE, number, AT + number, text=text, **more))

    good = message(500)
    # A text of four bytes, replaced by as many that are no UTF-8.
    broken = [message(501, "abcd").replace(b"abcd", bad) for bad in (b"\xff\xfe\xfd\xfc", b"a\xed\xa0\x80")]
    wire, validation = "not in Confluent's wire format", "api.validation"
    return [
        ("events.message", None, validation, wire),
        ("events.message", b"", validation, wire),
        ("events.message", b"no avro", validation, wire),
        ("events.message", b'{"json": true}', validation, wire),
        ("events.message", b"\0\0\1\x86\x9f" + good[5:], "api.unknown_schema", "schema id 99999"),
        ("events.message", streams.codec.encode("events.session", make.session(INSTANCE, 502, AT, "online")), validation,
         "not wharf.MessageEvent"),
        ("events.message", broken[0], validation, "utf-8"),
        ("events.message", broken[1], validation, "utf-8"),
        ("events.message", good[:-3], validation, "not MessageEvent"),
        ("events.message", good + b"more", validation, "bytes after the end"),
        ("events.message", good[:5] + b"\xfe\xff\xff\xff\x0f" + bytes(200_000), validation, "not MessageEvent"),
        ("events.message", message(503, envelope={"event_id": "no uuid"}), validation, "event_id is no UUID"),
        ("results", b"\0", validation, wire),
    ]  # fmt: skip


def good_records() -> list[tuple[str, dict[str, Any]]]:
    """Odd, but records: times at the ends of what can be told and beyond, a text of a megabyte, nothing where nothing must
    be, words of every language, and copies near and far."""
    times = (0, -1, -(2**63), 4_102_444_800_000, LATEST_MS + 1, 2**63 - 1, AT)
    found: list[tuple[str, dict[str, Any]]] = [
        ("events.message", make.message(INSTANCE, n, at, envelope={"received_at": AT}, direction="out"))
        for n, at in enumerate(times)
    ]
    copy_of = make.message(INSTANCE, 20, AT, text="ä\0\U0001f600'\\\u2028" * 60_000, direction="out")
    found += [("events.message", copy_of)] * 2
    found += [("events.message", make.message(INSTANCE, 30 + n, AT + n)) for n in range(20)]
    found += [("events.message", copy_of)]
    found.append(
        ("events.message", make.message("ünïcode'-\\`", 60, AT, contact="\t\n", message_id="'; DROP TABLE events"))
    )
    nothing = make.status(INSTANCE, 61, AT, "", "delivered", participant=None)
    found += [("events.status", nothing), ("events.status", copy.deepcopy(nothing))]
    found.append(("events.session", make.session(INSTANCE, 62, AT, "offline", reason_code=-(2**31), expires_at=2**62)))
    metadata = {"campaign": "c" * 1_000, "agent": "", "": "x", "k\0": "\n"}
    failed = {"error": {"code": "x" * 5_000, "message": "m" * 5_000}, "metadata": metadata, "until": -1}
    found += [("results", make.result(INSTANCE, "c-1", at, "failed", 2**31 - 1, **failed)) for at in (2**62, 2**62)]
    return found


def judged(streams: Streams) -> tuple[list[make.Event], dict[tuple[str, int, int], PoisonError]]:
    """What the log says: events as often as they stand in it, and the places of what are none."""
    found, bad = [], {}
    for topic in TOPICS:
        for record in streams.dump(topic):
            poison = decode([record], streams.codec).poison
            if poison:
                bad[topic, record.partition, record.offset] = poison[0][1]
            else:
                found.append(make.identity(topic, record.partition, streams.codec.decode(topic, record.value)))
    return found, bad


def test_each_record_is_a_row_or_a_dead_letter(streams: Streams, clickhouse: RunningClickHouse) -> None:
    database = clickhouse.settings(streams.env["WHARF_CLICKHOUSE__DATABASE"])
    bad = bad_records(streams)
    # In one partition each, good and bad by turns.
    for number, (topic, record) in enumerate(good_records()):
        streams.put(topic, INSTANCE, streams.codec.encode(topic, record), partition=0)
        if number < len(bad):
            streams.put(bad[number][0], INSTANCE, bad[number][1], partition=0)
    sink = streams.start_sink()
    # While it runs: a version that is newer than the process.
    streams.put("events.status", INSTANCE, newer_status(streams), partition=0)
    streams.flush()
    wait_until(lambda: settled(streams), SECONDS, "the sink is done")
    events, poison = judged(streams)
    assert len(poison) == len(bad)
    assert len(events) > len(set(events))
    assert make.differences(events, database) == []

    letters = {(one["origin_topic"], one["partition"], one["offset"]): one for one in streams.records("deadletter")}
    assert letters.keys() == poison.keys()
    told = sorted((one["code"], one["message"]) for one in letters.values())
    for _, _, code, text in bad:
        assert any(code == said and text in message for said, message in told), (code, text, told)

    assert query(database, "SELECT kind, message_id FROM events FINAL WHERE message_id = 'M900'") == [
        ("status.unknown", "M900")
    ]
    [(size, payload)] = query(database, "SELECT size_bytes, payload FROM events FINAL WHERE size_bytes > 400000")
    assert size > 500_000
    assert json.loads(payload)["content"]["text"] == "ä\0\U0001f600'\\\u2028" * 60_000
    assert sink.health()["status"] == "ok"
