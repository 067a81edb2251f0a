"""The schemas keep the rules that later versions rest on: documented, with defaults, one name for one thing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import fastavro
import pytest
from fastavro.utils import generate_many

from core.jid import ChatKind
from core.kafka.codec import Codec
from core.kafka.registry_client import MemoryRegistry
from core.topics import TOPICS
from schemas.catalogue import catalogue, named_types, self_contained

TOPIC_NAMES = sorted(catalogue().by_topic)


def enums() -> list[str]:
    return sorted(name for name, schema in named_types().items() if schema["type"] == "enum")


def fields() -> Iterator[tuple[str, dict[str, Any]]]:
    for name, schema in named_types().items():
        for field in schema.get("fields", ()):
            yield f"{name}.{field['name']}", field


def test_every_topic_with_a_record_has_a_schema_and_no_other() -> None:
    assert set(catalogue().by_topic) == {topic.name for topic in TOPICS if topic.record is not None}


@pytest.mark.parametrize("topic", TOPIC_NAMES)
def test_a_subject_is_self_contained(topic: str) -> None:
    schema = catalogue().by_topic[topic]
    names: dict[str, Any] = {}
    fastavro.parse_schema(json.loads(json.dumps(schema)), named_schemas=names)
    assert f"wharf.{schema['name']}" in names


def test_every_named_type_is_used() -> None:
    used: set[str] = set()
    for topic in TOPICS:
        if topic.record is not None:
            names: dict[str, Any] = {}
            fastavro.parse_schema(self_contained(topic.record), named_schemas=names)
            used |= set(names)
    assert set(named_types()) == used


def test_every_type_and_field_has_a_doc() -> None:
    undocumented = [name for name, schema in named_types().items() if not schema.get("doc")]
    undocumented += [path for path, field in fields() if not field.get("doc")]
    assert not undocumented


@pytest.mark.parametrize("name", enums())
def test_an_enum_ends_with_unknown_as_its_default(name: str) -> None:
    schema = named_types()[name]
    assert schema["symbols"][-1] == "unknown"
    assert schema["default"] == "unknown"


def test_nullable_and_collection_fields_have_defaults() -> None:
    for path, field in fields():
        kind = field["type"]
        if isinstance(kind, list):
            assert kind[0] == "null", path
            assert len(kind) == 2, path
            assert field["default"] is None, path
        elif isinstance(kind, dict) and kind["type"] in ("array", "map"):
            assert field["default"] in ([], {}), path


def test_times_are_millis_and_named_at() -> None:
    for path, field in fields():
        kinds = field["type"] if isinstance(field["type"], list) else [field["type"]]
        is_time = {"type": "long", "logicalType": "timestamp-millis"} in kinds
        named_like_time = path.endswith(("_at", ".until", ".timestamp", ".not_before", ".at"))
        assert is_time == named_like_time, path


def test_the_content_types_are_the_agreed_43() -> None:
    assert len(named_types()["wharf.ContentType"]["symbols"]) == 43


def test_chat_kinds_are_those_of_addresses() -> None:
    assert set(named_types()["wharf.ChatKind"]["symbols"]) == {kind.value for kind in ChatKind}


def test_session_states_cover_what_a_session_goes_through() -> None:
    states = set(named_types()["wharf.SessionStateKind"]["symbols"])
    lifecycle = {
        "created",
        "unpaired",
        "pairing",
        "paired",
        "pair_failed",
        "connecting",
        "online",
        "offline",
        "stopped",
    }
    ends = {"logged_out", "replaced", "banned", "outdated", "failed"}
    assert states == lifecycle | ends | {"degraded", "restored", "gap", "offline_sync", "unknown"}


@pytest.mark.parametrize("topic", TOPIC_NAMES)
def test_a_generated_record_survives_the_wire(topic: str) -> None:
    codec = Codec(MemoryRegistry(), catalogue().by_topic)
    plain = codec._known[topic].parsed
    for record in generate_many(plain, 20):
        assert codec.decode(topic, codec.encode(topic, record)) == record
