"""Records of the topic `_schemas` in Confluent's format.

Rule: the bytes of a key are exactly those that Confluent's registry writes (order of members, no spaces), because
compaction compares bytes. Members of values that this registry does not know are kept.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

SCHEMA = "SCHEMA"
CONFIG = "CONFIG"
MODE = "MODE"
NOOP = "NOOP"
DELETE_SUBJECT = "DELETE_SUBJECT"
CLEAR_SUBJECT = "CLEAR_SUBJECT"

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Record:
    """A key and value as they stand in the topic; a value of None is a tombstone."""

    key: bytes
    value: bytes | None


class UnreadableError(ValueError):
    """A record that no registry wrote."""


def _bytes(value: Json) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def schema(subject: str, version: int, value: Json | None) -> Record:
    key = _bytes({"keytype": SCHEMA, "subject": subject, "version": version, "magic": 1})
    return Record(key, None if value is None else _bytes(value))


def new_schema(subject: str, version: int, schema_id: int, text: str) -> Record:
    value = {"subject": subject, "version": version, "id": schema_id, "schema": text, "deleted": False}
    return schema(subject, version, value)


def config(subject: str | None, level: str | None) -> Record:
    """`level=None` removes it."""
    key = _bytes({"keytype": CONFIG, "subject": subject, "magic": 0})
    return Record(key, None if level is None else _bytes({"compatibilityLevel": level}))


def mode(subject: str | None, value: str | None) -> Record:
    """`value=None` removes it."""
    key = _bytes({"keytype": MODE, "subject": subject, "magic": 0})
    return Record(key, None if value is None else _bytes({"mode": value}))


def noop() -> Record:
    """Changes nothing; once it is read back, everything written before it was read."""
    return Record(_bytes({"keytype": NOOP, "magic": 0}), None)


def delete_subject(subject: str, version: int) -> Record:
    """Marks every version up to this one as deleted."""
    key = _bytes({"keytype": DELETE_SUBJECT, "subject": subject, "magic": 0})
    return Record(key, _bytes({"subject": subject, "version": version}))


def read(record: Record) -> tuple[Json, Json | None]:
    """Key and value as JSON."""
    try:
        key = json.loads(record.key)
        value = None if record.value is None else json.loads(record.value)
    except ValueError as cause:
        raise UnreadableError(str(cause)) from cause
    if not isinstance(key, dict) or not isinstance(key.get("keytype"), str):
        raise UnreadableError("the key has no keytype")
    if value is not None and not isinstance(value, dict):
        raise UnreadableError("the value is no object")
    return key, value
