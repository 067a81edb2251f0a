"""The canonical form: what Avro's Java library prints, one text for every spelling."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.catalogue import catalogue
from schemas.registry.avro_text import InvalidSchemaError, canonical

OTHER_NAMESPACE = {"name": "i", "type": {"type": "record", "name": "I", "namespace": "b", "fields": []}}
REFERENCE_TO_IT = {"name": "j", "type": "b.I"}
RECORD = {
    "fields": [
        {"name": "e", "type": {"type": "enum", "name": "E", "symbols": ["X"]}, "order": "ascending"},
        {"default": None, "type": ["null", "a.E"], "doc": "d", "name": "again", "order": "ignore", "tag": "t"},
        {"name": "r", "type": ["null", "R"], "default": None, "aliases": ["q"]},
    ],
    "name": "a.R",
    "type": "record",
}
RECORD_TEXT = (
    '{"type":"record","name":"R","namespace":"a","fields":['
    '{"name":"e","type":{"type":"enum","name":"E","symbols":["X"]}},'
    '{"name":"again","type":["null","E"],"doc":"d","default":null,"order":"ignore","tag":"t"},'
    '{"name":"r","type":["null","R"],"default":null,"aliases":["q"]}]}'
)


@pytest.mark.parametrize(
    ("schema", "text"),
    [
        ("string", '"string"'),
        ({"type": "string"}, '"string"'),
        ({"logicalType": "timestamp-millis", "type": "long"}, '{"type":"long","logicalType":"timestamp-millis"}'),
        (["null", {"type": "int"}], '["null","int"]'),
        ({"items": {"type": "int"}, "type": "array"}, '{"type":"array","items":"int"}'),
        ({"values": "int", "type": "map", "x": 1}, '{"type":"map","values":"int","x":1}'),
        ({"type": "fixed", "size": 2, "name": "a.F"}, '{"type":"fixed","name":"F","namespace":"a","size":2}'),
        (
            {"type": "enum", "default": "X", "symbols": ["X"], "doc": "d", "name": "a.E", "aliases": ["a.O"]},
            '{"type":"enum","name":"E","namespace":"a","doc":"d","symbols":["X"],"default":"X","aliases":["O"]}',
        ),
        (RECORD, RECORD_TEXT),
        (
            {"type": "record", "name": "R", "namespace": "a", "doc": "é", "fields": [OTHER_NAMESPACE, REFERENCE_TO_IT]},
            ('{"type":"record","name":"R","namespace":"a","doc":"é","fields":['
             '{"name":"i","type":{"type":"record","name":"I","namespace":"b","fields":[]}},{"name":"j","type":"b.I"}]}'),
        ),
    ],
)  # fmt: skip
def test_canonical_form(schema: Any, text: str) -> None:
    assert canonical(json.dumps(schema)) == text
    assert canonical(text) == text


@pytest.mark.parametrize("topic", sorted(catalogue().by_topic))
def test_our_schemas_have_one(topic: str) -> None:
    text = json.dumps(catalogue().by_topic[topic])
    spaced = json.dumps(catalogue().by_topic[topic], indent=4)
    assert canonical(spaced) == canonical(text) == canonical(canonical(text))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "nul",
        '"strin"',
        '{"type":"record"}',
        '{"type":"record","name":"R"}',
        '{"type":"record","name":"R","fields":[{"name":"a"}]}',
        '{"type":"record","name":"R","fields":[{"name":"a","type":"int"},{"name":"a","type":"int"}]}',
        '{"type":"record","name":"R","fields":[{"name":"a","type":"int","default":"x"}]}',
        '{"type":"enum","name":"E","symbols":["X"],"default":"Y"}',
        '{"type":"enum","name":"E","symbols":["1X"]}',
        '{"type":"fixed","name":"F"}',
        '{"type":"array"}',
        "5",
        "[]x",
        '{"type":{"type":"long"}}',
        '{"type":"enum","name":"E","symbols":["X","X"]}',
        '{"name":"R"}',
    ],
)
def test_what_is_no_schema_is_refused(text: str) -> None:
    with pytest.raises(InvalidSchemaError):
        canonical(text)


WORDS = st.sampled_from(
    [
        "type",
        "name",
        "fields",
        "record",
        "enum",
        "symbols",
        "items",
        "array",
        "int",
        "R",
        "default",
        "null",
        "values",
        "map",
    ]
)
SHAPES = st.recursive(
    WORDS | st.none() | st.integers(0, 2) | st.booleans(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=4),
    max_leaves=10,
)


@given(SHAPES)
def test_any_json_is_a_schema_or_refused(shape: Any) -> None:
    try:
        text = canonical(json.dumps(shape))
    except InvalidSchemaError:
        return
    assert canonical(text) == text
