"""Commands written as JSON: the same as Avro, with errors that name the field."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.errors import PoisonError
from core.kafka.codec import Codec
from core.kafka.registry_client import MemoryRegistry
from schemas.catalogue import catalogue

MINIMAL = {"command_id": "c-1", "instance_id": "sales-1", "type": "send"}


@pytest.fixture(scope="module")
def codec() -> Codec:
    return Codec(MemoryRegistry(), catalogue().by_topic)


def read(codec: Codec, **fields: Any) -> dict[str, Any]:
    return codec.decode_command(json.dumps({**MINIMAL, **fields}).encode())


def test_defaults_are_filled_at_every_depth(codec: Codec) -> None:
    command = read(
        codec, content={"type": "text", "text": "hi", "context": {"quoted": {"key": {"chat": "c", "id": "1"}}}}
    )
    assert command["lane"] == "auto"
    assert command["on_unknown"] == "resend"
    assert command["metadata"] == {}
    assert command["content"]["wrappers"] == []
    assert command["content"]["context"]["quoted"]["key"] == {
        "chat": "c",
        "sender": None,
        "from_me": False,
        "id": "1",
        "server_id": None,
    }


def test_defaults_are_not_shared_between_records(codec: Codec) -> None:
    read(codec)["metadata"]["x"] = "y"
    assert read(codec)["metadata"] == {}


def test_json_and_avro_give_the_same_record_and_hash(codec: Codec) -> None:
    command = read(
        codec, to="+49", content={"type": "text", "preview": {"thumbnail": base64.b64encode(b"\xff\0").decode()}}
    )
    assert command["content"]["preview"]["thumbnail"] == b"\xff\0"
    again = codec.decode_command(codec.encode("commands", command))
    assert again == command
    assert codec.command_hash(again) == codec.command_hash(command)


@pytest.mark.parametrize(
    ("change", "field", "message"),
    [
        ({"typ": "send"}, "typ", "no such field; did you mean type?"),
        ({"type": "sned"}, "type", "did you mean send?"),
        ({"type": None}, "type", "none of send"),
        ({"command_id": 5}, "command_id", "a string is expected, not 5"),
        ({"content": "hello"}, "content", "an object is expected"),
        ({"content": {"txt": "x"}}, "content.txt", "did you mean text?"),
        ({"content": {"text": ["x"]}}, "content.text", "a string is expected"),
        ({"content": {"context": {"mentions": "x"}}}, "content.context.mentions", "a list is expected"),
        ({"content": {"context": {"mentions": ["x", 1]}}}, "content.context.mentions[1]", "a string is expected"),
        ({"content": {"context": {"quoted": {"key": {"chat": "c"}}}}}, "content.context.quoted.key.id", "is required"),
        ({"content": {"preview": {"thumbnail": "~~"}}}, "content.preview.thumbnail", "is not base64"),
        ({"content": {"timer_s": 2**31}}, "content.timer_s", "does not fit into 32 bits"),
        ({"content": {"timer_s": 1.5}}, "content.timer_s", "a whole number is expected"),
        ({"content": {"timer_s": True}}, "content.timer_s", "a whole number is expected"),
        ({"not_before": "2026-01-01"}, "not_before", "a whole number is expected"),
        ({"metadata": {"a": 1}}, "metadata.a", "a string is expected"),
        ({"metadata": []}, "metadata", "an object is expected"),
    ],
)
def test_the_error_names_the_field(codec: Codec, change: dict[str, Any], field: str, message: str) -> None:
    with pytest.raises(PoisonError) as caught:
        read(codec, **change)
    assert caught.value.code == "api.validation"
    assert caught.value.field == field
    assert message in caught.value.message


def test_a_missing_field_is_named_and_the_ids_are_in_the_context(codec: Codec) -> None:
    with pytest.raises(PoisonError) as caught:
        codec.decode_command(b'{"command_id":"c-1","instance_id":"sales-1"}')
    assert caught.value.field == "type"
    assert caught.value.context == {"command_id": "c-1", "instance_id": "sales-1"}


@pytest.mark.parametrize("text", [b"{", b"{}x", b'{"a":NaN}', b"{\xff}", b'{"command_id":"\\ud800"}'])
def test_what_is_not_json_is_poison(codec: Codec, text: bytes) -> None:
    with pytest.raises(PoisonError):
        codec.decode_command(text)


def test_the_hash_is_of_what_is_said_and_not_of_how(codec: Codec) -> None:
    plain = codec.command_hash(read(codec, to="+49"))
    assert codec.command_hash(read(codec, to="+49", lane="auto", metadata={}, expires_at=None)) == plain
    assert codec.command_hash(read(codec, to="+48")) != plain
    assert codec.command_hash(read(codec, to="+49", lane="cold")) != plain
    assert codec.command_hash(read(codec, to="+49", metadata={"a": "", "b": ""})) == codec.command_hash(
        read(codec, to="+49", metadata={"b": "", "a": ""})
    )


def test_a_field_added_later_changes_no_hash(codec: Codec) -> None:
    schema = json.loads(json.dumps(catalogue().by_topic["commands"]))
    schema["fields"].append({"name": "later", "type": ["null", "string"], "default": None})
    newer = Codec(MemoryRegistry(), {"commands": schema})
    assert newer.command_hash(read(newer, to="+49")) == codec.command_hash(read(codec, to="+49"))


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
FIELDS = st.sampled_from([f["name"] for f in catalogue().by_topic["commands"]["fields"]]) | st.text(max_size=5)
FUZZ = settings(max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


@FUZZ
@given(st.dictionaries(FIELDS, JSON_VALUES, max_size=4))
def test_arbitrary_objects_decode_or_are_poison_and_what_decodes_encodes(codec: Codec, fields: dict[str, Any]) -> None:
    try:
        command = read(codec, **fields)
    except PoisonError:
        return
    assert codec.decode("commands", codec.encode("commands", command)) == command


@FUZZ
@given(st.binary(max_size=200))
def test_arbitrary_bytes_after_a_brace_decode_or_are_poison(codec: Codec, rest: bytes) -> None:
    with pytest.raises(PoisonError):
        codec.decode_command(b"{" + rest)
