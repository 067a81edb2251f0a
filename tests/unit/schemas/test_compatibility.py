"""The resolution rules: by table, and against what fastavro really reads."""

from __future__ import annotations

import copy
from io import BytesIO
from typing import Any

import fastavro
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.catalogue import catalogue, named_types
from schemas.registry.compatibility import NEW_READS_OLD, OLD_READS_NEW, Level, check, problems


def record(*fields: dict[str, Any], name: str = "R", **extra: Any) -> dict[str, Any]:
    return {"type": "record", "name": name, "namespace": "n", "fields": list(fields), **extra}


def field(name: str, kind: Any, **extra: Any) -> dict[str, Any]:
    return {"name": name, "type": kind, **extra}


def enum(*symbols: str, name: str = "E", **extra: Any) -> dict[str, Any]:
    return {"type": "enum", "name": name, "symbols": list(symbols), **extra}


def array(items: Any) -> dict[str, Any]:
    return {"type": "array", "items": items}


def mapping(values: Any) -> dict[str, Any]:
    return {"type": "map", "values": values}


def fixed(size: int) -> dict[str, Any]:
    return {"type": "fixed", "name": "F", "size": size}


A = field("a", "string")
INNER_INT = record(field("x", "int"), name="I")
INNER_STRING = record(field("x", "string"), name="I")
PROMOTIONS = {("long", "int"), ("float", "int"), ("float", "long"), ("double", "int"), ("double", "long"),
              ("double", "float"), ("bytes", "string"), ("string", "bytes")}  # fmt: skip
PRIMITIVES = ["null", "boolean", "int", "long", "float", "double", "bytes", "string"]


@pytest.mark.parametrize("reader", PRIMITIVES)
@pytest.mark.parametrize("writer", PRIMITIVES)
def test_primitives_and_promotions(reader: str, writer: str) -> None:
    assert (problems(reader, writer) == []) == (reader == writer or (reader, writer) in PROMOTIONS)


@pytest.mark.parametrize(
    ("reader", "writer"),
    [
        (record(A), record(A, field("b", "int"))),
        (record(A, field("b", "int", default=1)), record(A)),
        (record(field("b", "string", aliases=["a"])), record(A)),
        (record(A, aliases=["Old"], name="R"), record(A, name="Old")),
        (record(A, aliases=["n.Old"], name="R"), record(A, name="Old")),
        ({**record(A), "namespace": "other"}, record(A)),
        (record(field("a", ["null", "string"])), record(A)),
        (record(field("a", ["null", "string"])), record(field("a", ["string", "null"]))),
        (record(field("a", "string")), record(field("a", ["string"]))),
        (["null", "long"], "int"),
        (["string"], "bytes"),
        ({"type": "array", "items": "long"}, {"type": "array", "items": "int"}),
        ({"type": "map", "values": ["null", "int"]}, {"type": "map", "values": "int"}),
        (enum("X", "Y"), enum("X")),
        (enum("X", default="X"), enum("X", "Z")),
        ({"type": "fixed", "name": "F", "size": 4}, {"type": "fixed", "name": "F", "size": 4}),
        ({"type": "long", "logicalType": "timestamp-millis"}, "long"),
        (record(field("next", ["null", "R"], default=None)), record(field("next", ["null", "n.R"]))),
    ],
)
def test_can_be_read(reader: Any, writer: Any) -> None:
    assert problems(reader, writer) == []


@pytest.mark.parametrize(
    ("reader", "writer", "kind", "path"),
    [
        (record(A, field("b", "int")), record(A), "READER_FIELD_MISSING_DEFAULT_VALUE", "b"),
        (record(field("a", "int")), record(A), "TYPE_MISMATCH", "a"),
        (record(A), record(field("a", ["null", "string"])), "TYPE_MISMATCH", "a"),
        (record(A, name="S"), record(A), "NAME_MISMATCH", ""),
        (record(field("a", ["null", "int"])), record(A), "MISSING_UNION_BRANCH", "a"),
        (record(field("l", array("int"))), record(field("l", array("string"))), "TYPE_MISMATCH", "l[]"),
        (record(field("m", mapping("int"))), record(field("m", mapping("string"))), "TYPE_MISMATCH", "m{}"),
        (record(field("e", enum("X"))), record(field("e", enum("X", "Z"))), "MISSING_ENUM_SYMBOLS", "e"),
        (fixed(4), fixed(5), "FIXED_SIZE_MISMATCH", ""),
        # The innermost cause is told, also through a nullable record, a reference and a recursive type.
        (record(field("o", ["null", INNER_INT])), record(field("o", ["null", INNER_STRING])), "TYPE_MISMATCH", "o.x"),
        (
            record(field("o", INNER_INT), field("p", "I")),
            record(field("o", INNER_INT), field("p", {**INNER_STRING, "name": "J"})),
            "NAME_MISMATCH",
            "p",
        ),
        (
            record(field("v", "int"), field("next", ["null", "R"])),
            record(field("v", "string"), field("next", ["null", "R"])),
            "TYPE_MISMATCH",
            "v",
        ),
    ],
)
def test_cannot_be_read(reader: Any, writer: Any, kind: str, path: str) -> None:
    found = problems(reader, writer)
    assert [(problem.kind, problem.path) for problem in found] == [(kind, path)], found


# ------------------------------------------------------------------------------------------------- levels
V1 = record(A)
V2 = record(A, field("b", "int", default=0))
V3_NEEDS_B = record(A, field("b", "int"))


@pytest.mark.parametrize(
    ("level", "new", "old", "conflicts"),
    [
        (Level.NONE, record(field("z", "int")), [V1], []),
        (Level.BACKWARD, V3_NEEDS_B, [V1, V2], []),
        (Level.BACKWARD_TRANSITIVE, V3_NEEDS_B, [V1, V2], [(1, NEW_READS_OLD)]),
        (Level.FORWARD, record(), [V1], [(1, OLD_READS_NEW)]),
        (Level.FORWARD, record(), [V1, record()], []),
        (Level.FORWARD_TRANSITIVE, record(), [V1, record()], [(1, OLD_READS_NEW)]),
        (Level.FULL, V2, [V1], []),
        (Level.FULL, V3_NEEDS_B, [V1], [(1, NEW_READS_OLD)]),
        (Level.FULL_TRANSITIVE, V3_NEEDS_B, [V1, V2], [(1, NEW_READS_OLD)]),
        (Level.FULL_TRANSITIVE, record(field("a", "bytes")), [V1, V2], []),
        (Level.BACKWARD, V1, [], []),
    ],
)
def test_levels(level: Level, new: Any, old: list[Any], conflicts: list[tuple[int, str]]) -> None:
    found = check(level, new, list(enumerate(old, start=1)))
    assert [(conflict.version, conflict.direction) for conflict in found] == conflicts


@pytest.mark.parametrize("topic", sorted(catalogue().by_topic))
def test_our_schemas_may_grow(topic: str) -> None:
    """The change every later version makes, a nullable field in every record and a symbol in every enum, passes."""
    old = catalogue().by_topic[topic]
    new = copy.deepcopy(old)
    grow(new)
    assert new != old
    assert check(Level.FULL_TRANSITIVE, new, [(1, old)]) == []


def grow(node: Any) -> None:
    if isinstance(node, list):
        for branch in node:
            grow(branch)
    elif isinstance(node, dict):
        if node["type"] == "enum":
            node["symbols"].insert(0, "added_later")
        for inner in node.get("fields", ()):
            grow(inner["type"])
        if node["type"] == "record":
            node["fields"].append({"name": "added_later", "type": ["null", "string"], "default": None})
        grow(node.get("items"))
        grow(node.get("values"))


def test_a_required_field_in_our_schemas_is_refused_with_its_path() -> None:
    old = catalogue().by_topic["events.message"]
    new = copy.deepcopy(old)
    content = next(f["type"] for f in new["fields"] if f["name"] == "content")
    content["fields"].append({"name": "needed", "type": "string"})
    (conflict,) = check(Level.FULL_TRANSITIVE, new, [(1, old)])
    assert (conflict.problem.path, conflict.problem.kind) == ("content.needed", "READER_FIELD_MISSING_DEFAULT_VALUE")
    assert "wharf.MessageContent" in named_types()


# ------------------------------------------------------------------------------------------------- against fastavro
PRIMITIVE_VALUES: dict[str, st.SearchStrategy[Any]] = {
    "null": st.none(),
    "boolean": st.booleans(),
    "int": st.integers(-(2**31), 2**31 - 1),
    "long": st.integers(-(2**63), 2**63 - 1),
    "float": st.floats(width=32, allow_nan=False),
    "double": st.floats(width=32, allow_nan=False),
    # Bytes that are text: Avro promises the promotion to string, not that every byte is UTF-8.
    "bytes": st.text(max_size=4).map(str.encode),
    "string": st.text(max_size=4),
}


def values(node: Any) -> st.SearchStrategy[Any]:
    if isinstance(node, str):
        return PRIMITIVE_VALUES[node]
    if isinstance(node, list):
        return st.one_of([values(branch) for branch in node])
    match node["type"]:
        case "array":
            return st.lists(values(node["items"]), max_size=2)
        case "map":
            return st.dictionaries(st.text(max_size=2), values(node["values"]), max_size=2)
        case "enum":
            return st.sampled_from(node["symbols"])
        case "fixed":
            return st.binary(min_size=node["size"], max_size=node["size"])
        case _:
            return st.fixed_dictionaries({f["name"]: values(f["type"]) for f in node["fields"]})


DEFAULTS: dict[str, Any] = {
    "null": None,
    "boolean": True,
    "int": 1,
    "long": 2,
    "float": 1.5,
    "double": 2.5,
    "bytes": "b",
    "string": "s",
}
PRIMITIVE = st.sampled_from(PRIMITIVES)
COMPLEX = st.one_of(
    PRIMITIVE,
    PRIMITIVE.map(lambda items: {"type": "array", "items": items}),
    PRIMITIVE.map(lambda inner: {"type": "map", "values": inner}),
    st.lists(PRIMITIVE, min_size=1, max_size=3, unique=True),
)


@st.composite
def schemas(draw: st.DrawFn) -> dict[str, Any]:
    """A record of up to four fields out of few names, so that two of them have much in common."""
    fields = []
    for name in draw(st.lists(st.sampled_from("abcd"), max_size=4, unique=True)):
        kind = draw(COMPLEX)
        extra = {}
        if isinstance(kind, str) and draw(st.booleans()):
            extra["default"] = DEFAULTS[kind]
        fields.append(field(name, kind, **extra))
    symbols = draw(st.lists(st.sampled_from("XYZ"), min_size=1, max_size=3, unique=True))
    kind = enum(*symbols, **({"default": symbols[0]} if draw(st.booleans()) else {}))
    fields.append(field("e", kind))
    fields.append(field("f", {"type": "fixed", "name": "F", "size": draw(st.integers(1, 2))}))
    return record(*fields)


@settings(max_examples=600, deadline=None)
@given(schemas(), schemas(), st.data())
def test_what_is_called_compatible_is_read_by_fastavro(reader: Any, writer: Any, data: st.DataObject) -> None:
    if problems(reader, writer):
        return
    buffer = BytesIO()
    fastavro.schemaless_writer(buffer, writer, data.draw(values(writer)))
    buffer.seek(0)
    read = fastavro.schemaless_reader(buffer, writer, reader)
    assert isinstance(read, dict)
    assert set(read) == {f["name"] for f in reader["fields"]}


@settings(max_examples=600, deadline=None)
@given(schemas(), schemas())
def test_a_missing_field_without_default_is_never_called_compatible(reader: Any, writer: Any) -> None:
    written = {f["name"] for f in writer["fields"]}
    needed = {f["name"] for f in reader["fields"] if "default" not in f} - written
    told = {p.path for p in problems(reader, writer) if p.kind == "READER_FIELD_MISSING_DEFAULT_VALUE"}
    assert told == needed


@settings(max_examples=300, deadline=None)
@given(schemas())
def test_every_schema_reads_itself(schema: Any) -> None:
    assert problems(schema, schema) == []
