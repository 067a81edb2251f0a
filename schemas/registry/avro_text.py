"""An Avro schema's text: is it valid, and what is its canonical form.

The canonical form is the one Avro's Java library prints, because Confluent's registry finds a schema by the hash of
that text: whatever this registry stored is found again when Confluent's takes over the topic.
"""

from __future__ import annotations

import json
from typing import Any

import fastavro
from fastavro.schema import SchemaParseException, UnknownType

PRIMITIVES = frozenset({"null", "boolean", "int", "long", "float", "double", "bytes", "string"})
_NAMED = frozenset({"record", "error", "enum", "fixed"})
# Keys with a place of their own; everything else is a property and comes after them.
_FIELD_KEYS = frozenset({"name", "type", "doc", "default", "order", "aliases"})
_TYPE_KEYS = frozenset({"type", "name", "namespace", "doc", "fields", "symbols", "items", "values", "size", "aliases"})


class InvalidSchemaError(ValueError):
    """The text is no Avro schema."""


def parse(text: str) -> Any:
    """The schema as JSON, checked."""
    try:
        schema = json.loads(text)
        fastavro.parse_schema(schema)
        _check_unique(schema)
    except json.JSONDecodeError as cause:
        raise InvalidSchemaError(f"not JSON: {cause}") from cause
    except UnknownType as cause:
        raise InvalidSchemaError(f"unknown type {cause}") from cause
    except (SchemaParseException, ValueError, KeyError, TypeError, AttributeError, RecursionError) as cause:
        # fastavro meets malformed structure with Python's own errors.
        raise InvalidSchemaError(f"{type(cause).__name__}: {cause}") from cause
    return schema


def _check_unique(node: Any) -> None:
    """What fastavro lets pass and Avro does not: records without fields, names given twice."""
    for branch in node if isinstance(node, list) else ():
        _check_unique(branch)
    if not isinstance(node, dict):
        return
    kind = node["type"]
    if kind in ("record", "error"):
        _refuse_twice(node["name"], [field["name"] for field in node["fields"]])
        for field in node["fields"]:
            _check_unique(field["type"])
    elif kind == "enum":
        _refuse_twice(node["name"], node["symbols"])
    elif kind in ("array", "map"):
        _check_unique(node["items" if kind == "array" else "values"])


def _refuse_twice(owner: str, names: list[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InvalidSchemaError(f"{owner} has {', '.join(twice)} more than once")


def canonical(text: str) -> str:
    """One text for all ways to write the same schema; InvalidSchemaError if it is none."""
    return json.dumps(_canonical(parse(text), "", set()), ensure_ascii=False, separators=(",", ":"))


def full_name(schema: dict[str, Any], space: str) -> str:
    """Full name of a named type that stands in the namespace `space`."""
    name = str(schema["name"])
    if "." in name:
        return name
    own = schema.get("namespace", space)
    return f"{own}.{name}" if own else name


def resolve(name: str, space: str) -> str:
    """Full name of what a reference in the namespace `space` means."""
    return name if name in PRIMITIVES or "." in name or not space else f"{space}.{name}"


def _short(name: str, space: str) -> str:
    """A reference as it is written in the namespace `space`."""
    own, _, simple = name.rpartition(".")
    return simple if own == space and simple not in PRIMITIVES else name


def _canonical(node: Any, space: str, seen: set[str]) -> Any:
    if isinstance(node, str):
        return _short(resolve(node, space), space)
    if isinstance(node, list):
        return [_canonical(branch, space, seen) for branch in node]
    kind = node["type"]
    if kind in _NAMED:
        return _canonical_named(node, kind, space, seen)
    properties = {key: value for key, value in node.items() if key not in _TYPE_KEYS}
    if kind == "array":
        return {"type": "array", "items": _canonical(node["items"], space, seen), **properties}
    if kind == "map":
        return {"type": "map", "values": _canonical(node["values"], space, seen), **properties}
    name = _short(resolve(kind, space), space)
    return {"type": name, **properties} if properties and kind in PRIMITIVES else name


def _canonical_named(node: dict[str, Any], kind: str, space: str, seen: set[str]) -> Any:
    name = full_name(node, space)
    own, _, simple = name.rpartition(".")
    if name in seen:
        return _short(name, space)
    seen.add(name)
    out: dict[str, Any] = {"type": kind, "name": simple}
    if own != space:
        out["namespace"] = own
    if node.get("doc") is not None:
        out["doc"] = node["doc"]
    known = _TYPE_KEYS
    match kind:
        case "enum":
            out["symbols"] = node["symbols"]
            known = known | {"default"}
            if "default" in node:
                out["default"] = node["default"]
        case "fixed":
            out["size"] = node["size"]
        case _:
            out["fields"] = [_canonical_field(field, own, seen) for field in node["fields"]]
    out |= {key: value for key, value in node.items() if key not in known}
    if node.get("aliases"):
        out["aliases"] = [
            _short(alias if "." in alias or not own else f"{own}.{alias}", own) for alias in node["aliases"]
        ]
    return out


def _canonical_field(field: dict[str, Any], space: str, seen: set[str]) -> dict[str, Any]:
    out = {"name": field["name"], "type": _canonical(field["type"], space, seen)}
    if field.get("doc") is not None:
        out["doc"] = field["doc"]
    if "default" in field:
        out["default"] = field["default"]
    if field.get("order", "ascending") != "ascending":
        out["order"] = field["order"]
    if field.get("aliases"):
        out["aliases"] = field["aliases"]
    return out | {key: value for key, value in field.items() if key not in _FIELD_KEYS}
