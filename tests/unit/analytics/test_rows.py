"""Every record of the schema has a row whose values fit the columns; what is no record becomes a dead letter and no more."""

from __future__ import annotations

import copy
import io
import json
import struct
from typing import Any
from uuid import UUID

import fastavro
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analytics.sink.decode import decode
from analytics.sink.rows import COLUMNS, LATEST_MS, TOPICS, columns, row
from core.errors import PoisonError
from core.kafka.codec import Codec
from core.kafka.processor import InRecord
from core.kafka.registry_client import MemoryRegistry
from schemas.catalogue import catalogue
from tests.support import events as make

REGISTRY = MemoryRegistry()
CODEC = Codec(REGISTRY, catalogue().by_topic)
AT = make.BASE_MS
MESSAGE = make.message("i-1", 1, AT)
BOUNDS = {"generation": 63, "session_epoch": 63, "seq": 63, "revision": 31}


def place(topic: str, value: bytes | None, offset: int = 7) -> InRecord:
    return InRecord(topic, 2, offset, AT, b"i-1", value)


def as_row(topic: str, record: dict[str, Any]) -> dict[str, Any]:
    value = CODEC.encode(topic, record)
    return dict(zip(COLUMNS, row(CODEC.decode(topic, value), place(topic, value)), strict=True))


def _of_schema(node: Any, names: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Any value of an Avro type."""
    if isinstance(node, str):
        plain: dict[str, st.SearchStrategy[Any]] = {
            "null": st.none(),
            "boolean": st.booleans(),
            "int": st.integers(-(2**31), 2**31 - 1),
            "long": st.integers(-(2**63), 2**63 - 1),
            "string": st.text(st.characters(codec="utf-8"), max_size=8),
            "bytes": st.binary(max_size=4),
        }
        return plain[node] if node in plain else _of_schema(names[node], names)
    if isinstance(node, list):
        return st.one_of(*(_of_schema(branch, names) for branch in node))
    kind = node["type"]
    if "name" in node:
        names[f"{node['namespace']}.{node['name']}"] = node
    if kind == "record":
        return st.fixed_dictionaries({f["name"]: _of_schema(f["type"], names) for f in node["fields"]})
    if kind == "enum":
        return st.sampled_from(node["symbols"])
    if kind == "array":
        return st.lists(_of_schema(node["items"], names), max_size=2)
    if kind == "map":
        return st.dictionaries(
            st.text(st.characters(codec="utf-8"), max_size=4), _of_schema(node["values"], names), max_size=2
        )
    return _of_schema(kind, names)


ANY = {topic: _of_schema(catalogue().by_topic[topic], {}) for topic in TOPICS}


@pytest.mark.parametrize("topic", TOPICS)
@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_every_record_of_the_schema_has_a_row_that_fits(topic: str, data: st.DataObject) -> None:
    record = data.draw(ANY[topic])
    if "envelope" in record:
        record["envelope"]["event_id"] = str(UUID(int=data.draw(st.integers(0, 2**128 - 1))))
    made = as_row(topic, record)
    assert isinstance(made["event_id"], UUID)
    assert 0 <= made["ts"] <= LATEST_MS
    assert 0 <= made["received_at"] <= LATEST_MS
    for name, bits in BOUNDS.items():
        assert -(2**bits) <= made[name] < 2**bits
    assert isinstance(json.loads(made["payload"]), dict)
    assert (made["_topic"], made["_partition"], made["_offset"]) == (topic, 2, 7)
    for value in made.values():
        if isinstance(value, str):
            value.encode()


@pytest.mark.parametrize(
    ("given_ms", "kept_ms"),
    [(0, 0), (-1, 0), (4_102_444_800_000, 4_102_444_800_000), (2**62, LATEST_MS), (-(2**63), 0)],
)
def test_times_from_1970_to_2100_are_kept_and_others_become_the_nearest(given_ms: int, kept_ms: int) -> None:
    made = as_row("events.message", make.message("i-1", 1, given_ms, envelope={"received_at": AT}))
    assert made["ts"] == kept_ms
    assert json.loads(made["payload"])["envelope"]["occurred_at"] == given_ms


def test_a_text_of_a_megabyte_is_kept_whole() -> None:
    text = "ä" * 500_000
    made = as_row("events.message", make.message("i-1", 1, AT, text=text))
    assert json.loads(made["payload"])["content"]["text"] == text
    assert made["size_bytes"] > 1_000_000


def test_raw_bytes_do_not_get_into_the_table() -> None:
    record = make.message("i-1", 1, AT)
    record["content"]["raw"] = {"format": "wa_e2e", "bytes": b"secret", "field_numbers": [], "wa_version": "1"}
    assert json.loads(as_row("events.message", record)["payload"])["content"]["raw"]["bytes"] is None


def test_unknown_words_and_fields_of_a_newer_schema_have_a_row() -> None:
    newer = copy.deepcopy(catalogue().by_topic["events.status"])
    newer["fields"].append({"name": "added", "type": ["null", "string"], "default": None})
    status_type = next(f for f in newer["fields"] if f["name"] == "status")["type"]
    status_type["symbols"].append("teleported")
    out = io.BytesIO(struct.pack(">bI", 0, REGISTRY.schema_id("newer", newer)))
    out.seek(5)
    record = make.status("i-1", 1, AT, "M1", "teleported", added="x")
    fastavro.schemaless_writer(out, fastavro.parse_schema(copy.deepcopy(newer)), record)
    decoded = decode([place("events.status", out.getvalue())], CODEC)
    assert decoded.poison == []
    made = dict(zip(COLUMNS, decoded.rows[0], strict=True))
    assert (made["kind"], made["message_id"]) == ("status.unknown", "M1")


def test_what_cannot_be_a_row_is_named_and_the_rest_goes_on() -> None:
    good = CODEC.encode("events.message", MESSAGE)
    # The text "hi" with bytes that are no UTF-8.
    invalid = good.replace(b"\x04hi", b"\x04\xff\xfe")
    assert invalid != good
    nameless = CODEC.encode("events.message", make.message("i-1", 2, AT, envelope={"event_id": "no uuid"}))
    values = [b"", None, b"{}", invalid, good[:-3], nameless, good]
    decoded = decode([place("events.message", value, n) for n, value in enumerate(values)], CODEC)
    assert [record.offset for record, _ in decoded.poison] == [0, 1, 2, 3, 4, 5]
    assert all(isinstance(cause, PoisonError) for _, cause in decoded.poison)
    assert decoded.poison[-1][1].field == "envelope.event_id"
    assert len(decoded.rows) == 1


def test_an_event_is_in_a_batch_once_and_not_again_when_it_is_known() -> None:
    value = CODEC.encode("events.message", MESSAGE)
    other = CODEC.encode("events.message", make.message("i-1", 2, AT))
    records = [place("events.message", one, n) for n, one in enumerate((value, other, value))]
    decoded = decode(records, CODEC)
    assert [one[-1] for one in decoded.rows] == [0, 1]
    assert decoded.duplicates == 1
    rest = decoded.without({UUID(MESSAGE["envelope"]["event_id"])})
    assert [one[-1] for one in rest.rows] == [1]
    assert rest.duplicates == 2


def test_the_stored_answer_to_a_duplicate_command_is_the_same_event() -> None:
    told = make.result("i-1", "c-1", AT, "sent", 3)
    assert as_row("results", told)["event_id"] == as_row("results", dict(told))["event_id"]
    assert as_row("results", told)["event_id"] != as_row("results", told | {"revision": 4})["event_id"]


def test_a_result_tells_the_epoch_of_the_session_that_said_it() -> None:
    assert as_row("results", make.result("i-1", "c-1", AT, "sent", 3, session_epoch=7))["session_epoch"] == 7
    assert as_row("results", make.result("i-1", "c-1", AT, "rejected", 1))["session_epoch"] == 0


def test_facts_for_the_funnel_are_in_their_columns() -> None:
    out = as_row(
        "events.message", make.message("i-1", 1, AT, direction="out", metadata={"campaign": "may", "agent": "ann"})
    )
    assert (out["direction"], out["campaign"], out["agent"], out["contact"]) == ("out", "may", "ann", out["chat"])
    read = as_row("events.status", make.status("i-1", 2, AT, "M1", "read"))
    assert (read["kind"], read["direction"], read["from_self"]) == ("status.read", "out", False)
    others = as_row("events.status", make.status("i-1", 2, AT, "M1", "read", message_sender="x@s.whatsapp.net"))
    assert others["direction"] == "in"


def test_columns_are_the_rows_turned() -> None:
    value = CODEC.encode("events.message", MESSAGE)
    rows = decode([place("events.message", value)], CODEC).rows
    assert [column[0] for column in columns(rows)] == list(rows[0])
