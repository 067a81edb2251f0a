"""Values of Kafka records to and from plain dicts: Avro in Confluent's wire format, and JSON for commands.

Wire format: a zero byte, the schema id as four bytes big-endian, the Avro binary. Rules: ids are looked up once per
topic and never registered; what was written with another version is resolved into the version this process knows; bytes
that cannot be decoded are a PoisonError and nothing else. Times are epoch milliseconds (logical types are not applied).
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import Any, TypeAlias

import fastavro
from fastavro.schema import SchemaParseException
from fastavro.validation import ValidationError, validate

from core.errors import APIError, PoisonError
from core.kafka import avro_json
from core.kafka.registry_client import Registry, UnknownSchemaError

Schema: TypeAlias = dict[str, Any]

COMMANDS = "commands"
MAGIC = 0
_HEADER = struct.Struct(">bI")
_JSON_START = b"{"
# What fastavro raises on bytes that do not fit the schema; found by fuzzing, anything else is a bug of ours.
_MALFORMED = (EOFError, ValueError, IndexError, KeyError, TypeError, OverflowError, MemoryError, struct.error)
_RESOLUTION = (fastavro.read.SchemaResolutionError, SchemaParseException)


@dataclass(slots=True)
class _Known:
    """The version of a topic's schema that this process writes and reads into."""

    subject: str
    schema: Schema
    parsed: Any
    names: dict[str, Schema]
    schema_id: int | None = None


class Codec:
    """Encodes and decodes by topic name without prefix. `schemas` are self-contained (schemas.catalogue)."""

    def __init__(self, registry: Registry, schemas: Mapping[str, Schema], prefix: str = "wa.") -> None:
        self._registry = registry
        self._known = {topic: _known(f"{prefix}{topic}-value", schema) for topic, schema in schemas.items()}
        self._writers: dict[tuple[str, int], Any] = {}

    def prepare(self, *topics: str) -> None:
        """Look up the ids of these topics now: a missing registration stops the start, not the first record."""
        for topic in topics:
            self._id(self._known[topic])

    def encode(self, topic: str, record: dict[str, Any]) -> bytes:
        """Wire format of the record; APIError names the field that does not fit. Unknown fields are refused."""
        known = self._known[topic]
        out = BytesIO()
        out.write(_HEADER.pack(MAGIC, self._id(known)))
        try:
            fastavro.schemaless_writer(
                out, known.parsed, record, strict_allow_default=True, disable_tuple_notation=True
            )
        except (*_MALFORMED, AttributeError) as cause:
            raise _unfit(topic, record, known, cause) from cause
        return out.getvalue()

    def decode(self, topic: str, payload: bytes | None) -> dict[str, Any]:
        """The record; PoisonError for malformed bytes and unknown schema ids. Waits while the registry is away."""
        known = self._known[topic]
        if payload is None or len(payload) < _HEADER.size or payload[0] != MAGIC:
            raise PoisonError("api.validation", f"not in Confluent's wire format: {_start(payload)}")
        schema_id = _HEADER.unpack_from(payload)[1]
        writer = self._writer(topic, schema_id, known)
        body = BytesIO(payload)
        body.seek(_HEADER.size)
        try:
            if writer is known.parsed:
                record = fastavro.schemaless_reader(body, writer, None)
            else:
                record = fastavro.schemaless_reader(body, writer, known.parsed)
        except _MALFORMED as cause:
            raise PoisonError(
                "api.validation", f"not {known.schema['name']} of schema {schema_id}: {_text(cause)}"
            ) from cause
        except _RESOLUTION as cause:
            raise PoisonError(
                "api.validation", f"schema {schema_id} cannot be read as {known.schema['name']}: {cause}"
            ) from cause
        if not isinstance(record, dict):
            raise PoisonError("api.validation", f"schema {schema_id} is no record")
        if body.tell() != len(payload):
            raise PoisonError("api.validation", f"{len(payload) - body.tell()} bytes after the end of the record")
        return record

    def decode_command(self, payload: bytes | None) -> dict[str, Any]:
        """A command, Avro or JSON. The PoisonError has `field`, and in its context the ids that can be read."""
        if payload is None or not payload.startswith(_JSON_START):
            return self.decode(COMMANDS, payload)
        known = self._known[COMMANDS]
        return avro_json.from_json(payload, known.schema, known.names)

    def command_hash(self, command: dict[str, Any]) -> str:
        """Hash of what a decoded command says: Avro and JSON agree, and later versions of the schema too."""
        known = self._known[COMMANDS]
        return avro_json.canonical_hash(command, known.schema, known.names)

    def _id(self, known: _Known) -> int:
        if known.schema_id is None:
            known.schema_id = self._registry.schema_id(known.subject, known.schema)
        return known.schema_id

    def _writer(self, topic: str, schema_id: int, known: _Known) -> Any:
        key = (topic, schema_id)
        if key not in self._writers:
            self._writers[key] = self._load(schema_id, known)
        return self._writers[key]

    def _load(self, schema_id: int, known: _Known) -> Any:
        try:
            schema = self._registry.schema(schema_id)
        except UnknownSchemaError as cause:
            raise PoisonError("api.unknown_schema", f"schema id {schema_id} is not in the registry") from cause
        plain = _plain(schema)
        if plain.get("type") != "record" or _name(plain) != _name(known.schema):
            raise PoisonError("api.validation", f"schema {schema_id} is {_name(plain)}, not {_name(known.schema)}")
        try:
            parsed = fastavro.parse_schema(plain)
        except _RESOLUTION as cause:
            raise PoisonError("api.validation", f"schema {schema_id} is not valid: {cause}") from cause
        # Names may be written in full or by namespace: parsed they are the same. Resolving costs four times as much.
        return known.parsed if parsed == known.parsed else parsed


def _known(subject: str, schema: Schema) -> _Known:
    names: dict[str, Schema] = {}
    plain = _plain(schema, names)
    return _Known(subject, schema, fastavro.parse_schema(plain), names)


def _plain(node: Any, names: dict[str, Schema] | None = None, namespace: str = "") -> Any:
    """The schema without docs and logical types; `names` collects the named types by full name."""
    if isinstance(node, list):
        return [_plain(branch, names, namespace) for branch in node]
    if not isinstance(node, dict):
        return node
    space = node.get("namespace", namespace)
    plain = {
        key: value for key, value in node.items() if key not in ("doc", "logicalType", "fields", "items", "values")
    }
    if "fields" in node:
        plain["fields"] = [
            {k: _plain(v, names, space) if k == "type" else v for k, v in f.items() if k != "doc"}
            for f in node["fields"]
        ]
    for part in ("items", "values"):
        if part in node:
            plain[part] = _plain(node[part], names, space)
    if names is not None and "name" in plain and plain["type"] in ("record", "enum", "fixed"):
        names[f"{space}.{plain['name']}"] = plain
    return plain


def _name(schema: Schema) -> str:
    name = str(schema.get("name", schema.get("type")))
    return name if "." in name or not schema.get("namespace") else f"{schema['namespace']}.{name}"


def _unfit(topic: str, record: dict[str, Any], known: _Known, cause: BaseException) -> APIError:
    """The error with the field that fastavro's validator finds wrong, the innermost of a nullable record."""
    try:
        validate(record, known.parsed, disable_tuple_notation=True)  # type: ignore[call-arg]  # missing in its stub
    except ValidationError as found:
        worst = found.errors[-1]
        kind = worst.schema["type"] if isinstance(worst.schema, dict) else worst.schema
        message = f"{topic}: {worst.field}: {_text(repr(worst.datum))} is not of type {kind}"
        return APIError("api.validation", message, field=worst.field)
    return APIError("api.validation", f"{topic}: {_text(cause)}")


def _text(cause: object) -> str:
    text = str(cause) or type(cause).__name__
    return text if len(text) <= 300 else f"{text[:297]}..."


def _start(payload: bytes | None) -> str:
    return "no value" if payload is None else f"{len(payload)} bytes beginning {payload[:5].hex() or 'with nothing'}"
