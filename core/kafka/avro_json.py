"""Plain JSON for an Avro schema: how a command may be written by hand, and the canonical form of a record.

Rule for input: nullable fields are null or the plain value (no Avro-JSON union tags), bytes are base64, defaults are
filled, and what the schema does not know is refused with its path and the nearest valid name.
Rule for the canonical form: fields at their default are left out, so that a field added later changes no hash.
"""

from __future__ import annotations

import base64
import binascii
import difflib
import hashlib
from collections.abc import Iterable
from typing import Any, TypeAlias

import orjson

from core.errors import PoisonError

Schema: TypeAlias = dict[str, Any]
Names: TypeAlias = dict[str, Schema]

# Longer than any valid name; comparing takes time that grows with the length.
_LONGEST_NAME = 64
_RANGES = {"int": (-(2**31), 2**31 - 1), "long": (-(2**63), 2**63 - 1)}
_WORDS = {"string": "a string", "boolean": "true or false", "int": "a whole number", "long": "a whole number",
          "float": "a number", "double": "a number", "bytes": "base64 text", "null": "null"}  # fmt: skip


def from_json(text: bytes, schema: Schema, names: Names) -> dict[str, Any]:
    """The record that the JSON object stands for; PoisonError names the field that is wrong."""
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as cause:
        raise PoisonError("api.validation", f"not JSON: {cause}") from cause
    ids = {
        n: value[n] for n in ("command_id", "instance_id") if isinstance(value, dict) and isinstance(value.get(n), str)
    }
    try:
        record: dict[str, Any] = _read(value, schema, names, "")
    except PoisonError as cause:
        raise PoisonError(cause.code, cause.message, field=cause.field, **ids) from cause
    return record


def _wrong(path: str, message: str) -> PoisonError:
    return PoisonError("api.validation", f"{path or 'the value'}: {message}", field=path or None)


def _nearest(name: str, valid: Iterable[str]) -> str:
    close = difflib.get_close_matches(name[:_LONGEST_NAME], list(valid), n=1, cutoff=0.4)
    return f"; did you mean {close[0]}?" if close else ""


def _read(value: Any, node: Any, names: Names, path: str) -> Any:
    if isinstance(node, list):
        return None if value is None else _read(value, _nullable(node), names, path)
    kind = node if isinstance(node, str) else node["type"]
    if kind in names:
        return _read(value, names[kind], names, path)
    match kind:
        case "record":
            return _read_record(value, node, names, path)
        case "enum":
            if value not in node["symbols"]:
                raise _wrong(
                    path,
                    f"{_show(value)} is none of {', '.join(node['symbols'])}{_nearest(str(value), node['symbols'])}",
                )
            return value
        case "array":
            if not isinstance(value, list):
                raise _wrong(path, f"a list is expected, not {_show(value)}")
            return [_read(item, node["items"], names, f"{path}[{i}]") for i, item in enumerate(value)]
        case "map":
            if not isinstance(value, dict):
                raise _wrong(path, f"an object is expected, not {_show(value)}")
            return {key: _read(item, node["values"], names, f"{path}.{key}") for key, item in value.items()}
        case _:
            return _read_primitive(value, kind, path)


def _read_record(value: Any, node: Schema, names: Names, path: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _wrong(path, f"an object is expected, not {_show(value)}")
    fields = {f["name"]: f for f in node["fields"]}
    base = f"{path}." if path else ""
    for name in value:
        if name not in fields:
            raise _wrong(base + name, f"no such field{_nearest(name, fields)}")
    record = {}
    for name, field in fields.items():
        if name in value:
            record[name] = _read(value[name], field["type"], names, base + name)
        elif "default" in field:
            record[name] = default_of(field, names)
        else:
            raise _wrong(base + name, "is required")
    return record


def _read_primitive(value: Any, kind: str, path: str) -> Any:
    if kind == "bytes" and isinstance(value, str):
        try:
            return base64.b64decode(value, validate=True)
        except (binascii.Error, ValueError) as cause:
            raise _wrong(path, f"is not base64: {cause}") from cause
    good = {
        "string": isinstance(value, str),
        "boolean": isinstance(value, bool),
        "int": isinstance(value, int) and not isinstance(value, bool),
        "long": isinstance(value, int) and not isinstance(value, bool),
        "float": isinstance(value, int | float) and not isinstance(value, bool),
        "double": isinstance(value, int | float) and not isinstance(value, bool),
    }
    if not good.get(kind, False):
        raise _wrong(path, f"{_WORDS[kind]} is expected, not {_show(value)}")
    if kind in _RANGES and not _RANGES[kind][0] <= value <= _RANGES[kind][1]:
        raise _wrong(path, f"{value} does not fit into {'32' if kind == 'int' else '64'} bits")
    return float(value) if kind in ("float", "double") else value


def _show(value: Any) -> str:
    text = orjson.dumps(value, default=str).decode()
    return text if len(text) <= 60 else f"{text[:57]}..."


def _nullable(union: list[Any]) -> Any:
    branches = [branch for branch in union if branch != "null"]
    if len(branches) != 1 or len(union) != 2:
        raise ValueError(f"only nullable types are used in wharf's schemas, not {union}")
    return branches[0]


def default_of(field: Schema, names: Names) -> Any:
    """A fresh copy of a field's default, with the defaults of the records in it filled in."""
    return _fill(field["default"], field["type"], names)


def _fill(value: Any, node: Any, names: Names) -> Any:
    if isinstance(node, list):
        return None if value is None else _fill(value, _nullable(node), names)
    kind = node if isinstance(node, str) else node["type"]
    if kind in names:
        return _fill(value, names[kind], names)
    match kind:
        case "record":
            return {
                f["name"]: _fill(value[f["name"]], f["type"], names) if f["name"] in value else default_of(f, names)
                for f in node["fields"]
            }
        case "array":
            return [_fill(item, node["items"], names) for item in value]
        case "map":
            return {key: _fill(item, node["values"], names) for key, item in value.items()}
        case "bytes":
            return value.encode("iso-8859-1")
        case _:
            return value


def canonical(value: Any, node: Any, names: Names) -> Any:
    """The value as JSON has it, without the fields that are at their default."""
    if isinstance(node, list):
        return None if value is None else canonical(value, _nullable(node), names)
    kind = node if isinstance(node, str) else node["type"]
    if kind in names:
        return canonical(value, names[kind], names)
    match kind:
        case "record":
            return {
                f["name"]: canonical(value[f["name"]], f["type"], names)
                for f in node["fields"]
                if f["name"] in value and not _is_default(value[f["name"]], f, names)
            }
        case "array":
            return [canonical(item, node["items"], names) for item in value]
        case "map":
            return {key: canonical(item, node["values"], names) for key, item in value.items()}
        case "bytes":
            return base64.b64encode(value).decode()
        case _:
            return value


def _is_default(value: Any, field: Schema, names: Names) -> bool:
    if "default" not in field:
        return False
    # Most fields are nullable and absent: no default is built for them.
    if value is None or field["default"] is None:
        return value is field["default"]
    return bool(value == default_of(field, names))


def canonical_hash(record: dict[str, Any], schema: Schema, names: Names) -> str:
    """SHA-256 of the canonical form, hex: equal for records that mean the same, however they were written."""
    text = orjson.dumps(canonical(record, schema, names), option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(text).hexdigest()
