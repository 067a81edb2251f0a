"""Records survive the wire, versions are resolved, and bytes that cannot be decoded are poison and nothing else."""

from __future__ import annotations

import copy
import json
import struct
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from core.errors import APIError, PoisonError
from core.kafka.codec import Codec
from core.kafka.registry_client import MemoryRegistry
from schemas.catalogue import catalogue

SCHEMAS = catalogue().by_topic
MINIMAL = {"command_id": "c-1", "instance_id": "sales-1", "type": "send"}


@pytest.fixture(scope="module")
def registry() -> MemoryRegistry:
    return MemoryRegistry()


@pytest.fixture(scope="module")
def codec(registry: MemoryRegistry) -> Codec:
    made = Codec(registry, SCHEMAS)
    made.prepare(*SCHEMAS)
    return made


def command(codec: Codec, **fields: Any) -> dict[str, Any]:
    return codec.decode_command(json.dumps({**MINIMAL, **fields}).encode())


def test_wire_format_is_zero_id_avro(codec: Codec, registry: MemoryRegistry) -> None:
    payload = codec.encode("commands", command(codec))
    assert payload[0] == 0
    assert struct.unpack(">I", payload[1:5])[0] == registry.schema_id("wa.commands-value", SCHEMAS["commands"])


def test_defaults_may_be_left_out_when_encoding(codec: Codec) -> None:
    assert codec.decode("commands", codec.encode("commands", dict(MINIMAL))) == command(codec)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"typ": "send"}, "typ"),
        ({"type": "sendd"}, "wharf.Command.type"),
        ({"command_id": None}, "wharf.Command.command_id"),
        ({"content": {"type": "texxt"}}, "wharf.MessageContent.type"),
        ({"metadata": {"a": 1}}, "wharf.Command.metadata"),
    ],
)
def test_a_record_that_does_not_fit_is_refused_with_its_field(codec: Codec, change: dict[str, Any], named: str) -> None:
    with pytest.raises(APIError, match=named) as caught:
        codec.encode("commands", {**MINIMAL, **change})
    assert caught.value.code == "api.validation"


def test_times_stay_epoch_milliseconds(codec: Codec) -> None:
    assert (
        codec.decode("commands", codec.encode("commands", {**MINIMAL, "expires_at": 1_790_000_000_123}))["expires_at"]
        == 1_790_000_000_123
    )


# ------------------------------------------------------------------------------------------------- versions
def later(schema: dict[str, Any]) -> dict[str, Any]:
    """A later version: a new field, a new record type, new enum symbols."""
    new = copy.deepcopy(schema)
    new["fields"].append({"name": "later", "type": ["null", "string"], "default": None, "doc": "New."})
    kind = next(f for f in new["fields"] if f["name"] == "type")["type"]
    kind["symbols"].insert(0, "fly")
    return new


def test_a_later_version_is_read_by_an_earlier_process(registry: MemoryRegistry, codec: Codec) -> None:
    newer = Codec(registry, {"commands": later(SCHEMAS["commands"])})
    record = {**MINIMAL, "type": "fly", "later": "x", "to": "+491"}
    read = codec.decode("commands", newer.encode("commands", record))
    assert read["type"] == "unknown"
    assert read["to"] == "+491"
    assert "later" not in read


def test_an_earlier_version_is_read_by_a_later_process(registry: MemoryRegistry, codec: Codec) -> None:
    newer = Codec(registry, {"commands": later(SCHEMAS["commands"])})
    read = newer.decode("commands", codec.encode("commands", dict(MINIMAL)))
    assert read["later"] is None
    assert read["type"] == "send"


def test_a_schema_without_docs_is_the_same_schema(registry: MemoryRegistry, codec: Codec) -> None:
    bare = copy.deepcopy(SCHEMAS["commands"])
    for field in bare["fields"]:
        field.pop("doc")
    other = Codec(registry, {"commands": bare})
    assert codec.decode("commands", other.encode("commands", dict(MINIMAL))) == command(codec)


# ------------------------------------------------------------------------------------------------- poison
@pytest.mark.parametrize("topic", sorted(SCHEMAS))
def test_the_registrys_form_of_our_schema_needs_no_resolution(topic: str) -> None:
    """The registry writes names in full; resolving costs four times as much, for every record."""
    registry = MemoryRegistry()
    codec = Codec(registry, SCHEMAS)
    number = registry.schema_id(f"wa.{topic}-value", fully_named(SCHEMAS[topic]))
    known = codec._known[topic]
    assert codec._writer(topic, number, known) is known.parsed


def fully_named(node: Any, namespace: str = "") -> Any:
    """The same schema with every name in full and no namespaces."""
    if isinstance(node, list):
        return [fully_named(branch, namespace) for branch in node]
    if not isinstance(node, dict):
        return node
    space = node.get("namespace", namespace)
    out = {key: value for key, value in node.items() if key != "namespace"}
    if node.get("type") in ("record", "enum", "fixed") and "." not in node["name"]:
        out["name"] = f"{space}.{node['name']}"
    if "fields" in node:
        out["fields"] = [{**field, "type": fully_named(field["type"], space)} for field in node["fields"]]
    for part in ("items", "values"):
        if part in node:
            out[part] = fully_named(node[part], space)
    if isinstance(node.get("type"), (dict, list)):
        out["type"] = fully_named(node["type"], space)
    return out


def test_an_unknown_schema_id_is_poison(codec: Codec) -> None:
    with pytest.raises(PoisonError) as caught:
        codec.decode("commands", b"\0\0\0\x7f\xff" + b"x")
    assert caught.value.code == "api.unknown_schema"


def test_a_record_of_another_topic_is_poison(codec: Codec) -> None:
    audit = {
        "audit_id": "a",
        "request_id": "r",
        "kind": "unknown",
        "outcome": "accepted",
        "actor": "x",
        "subject": "s",
        "at": 1,
    }
    with pytest.raises(PoisonError, match=r"wharf\.AuditEvent, not wharf\.Command"):
        codec.decode("commands", codec.encode("audit", audit))


@pytest.mark.parametrize("payload", [None, b"", b"\0", b"\0\0\0\0", b"\1\0\0\0\1aaaa", b"hello"])
def test_what_is_not_in_the_wire_format_is_poison(codec: Codec, payload: bytes | None) -> None:
    with pytest.raises(PoisonError, match="wire format"):
        codec.decode("commands", payload)


def test_trailing_bytes_are_poison(codec: Codec) -> None:
    with pytest.raises(PoisonError, match="2 bytes after the end"):
        codec.decode("commands", codec.encode("commands", dict(MINIMAL)) + b"xx")


def test_every_truncation_is_poison(codec: Codec) -> None:
    payload = codec.encode("commands", command(codec, to="+4915123456789", content={"type": "text", "text": "héllo"}))
    for length in range(len(payload)):
        with pytest.raises(PoisonError):
            codec.decode("commands", payload[:length])


FUZZ = settings(max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


@FUZZ
@given(st.sampled_from(sorted(SCHEMAS)), st.binary(max_size=400), st.booleans())
def test_arbitrary_bytes_decode_or_are_poison(codec: Codec, topic: str, body: bytes, framed: bool) -> None:
    payload = codec.encode("commands", dict(MINIMAL))[:5] + body if framed and topic == "commands" else body
    if framed and topic != "commands":
        payload = struct.pack(">bI", 0, codec._id(codec._known[topic])) + body
    try:
        assert isinstance(codec.decode(topic, payload), dict)
    except PoisonError:
        pass


@FUZZ
@given(st.data())
def test_mutated_commands_decode_or_are_poison(codec: Codec, data: st.DataObject) -> None:
    full = command(
        codec,
        to="+4915123456789",
        metadata={"order": "1"},
        content={
            "type": "text",
            "text": "x" * 30,
            "context": {"mentions": ["1@lid"], "quoted": {"key": {"chat": "c", "id": "i"}}},
        },
    )
    payload = bytearray(codec.encode("commands", full))
    for _ in range(data.draw(st.integers(1, 4))):
        payload[data.draw(st.integers(0, len(payload) - 1))] = data.draw(st.integers(0, 255))
    try:
        assert isinstance(codec.decode_command(bytes(payload)), dict)
    except PoisonError:
        pass


# A huge block count must not be believed: the array has no bytes behind it.
@example(b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01")
@example(b"\x80" * 12)
@example(b"\xff" * 30)
@FUZZ
@given(st.binary(max_size=30))
def test_numbers_beyond_64_bits_and_huge_counts_are_poison_or_small(codec: Codec, body: bytes) -> None:
    head = struct.pack(">bI", 0, codec._id(codec._known["audit"]))
    try:
        record = codec.decode("audit", head + body)
    except PoisonError:
        return
    assert len(json.dumps(record)) < 2_000
