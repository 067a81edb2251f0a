"""What the records of `_schemas` amount to. Pure: records in, questions answered.

Rules: versions of a subject count from 1 and are not used again while the subject exists; one text has one id in all
subjects; ids grow.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from schemas.registry import records
from schemas.registry.avro_text import InvalidSchemaError, canonical
from schemas.registry.compatibility import Level
from schemas.registry.records import Record

DEFAULT_LEVEL = Level.BACKWARD
DEFAULT_MODE = "READWRITE"
AVRO = "AVRO"


@dataclass(frozen=True, slots=True)
class Version:
    """A registered version. `value` is the record's, with whatever another registry put into it."""

    subject: str
    version: int
    schema_id: int
    text: str
    schema_type: str
    deleted: bool
    value: dict[str, Any]
    match: str = field(repr=False)

    def answer(self) -> dict[str, Any]:
        """As the API tells it; the type is left out for Avro, as Confluent's does."""
        body = {"subject": self.subject, "version": self.version, "id": self.schema_id, "schema": self.text}
        return body | self.details()

    def details(self) -> dict[str, Any]:
        """Members beside the text that a reader of the schema needs."""
        out: dict[str, Any] = {} if self.schema_type == AVRO else {"schemaType": self.schema_type}
        return out | {name: self.value[name] for name in ("references", "metadata", "ruleSet") if self.value.get(name)}


class State:
    """Not thread-safe: the caller holds the lock."""

    def __init__(self) -> None:
        self._subjects: dict[str, dict[int, Version]] = {}
        self._levels: dict[str | None, Level] = {}
        self._modes: dict[str | None, str] = {}
        self._max_id = 0

    def apply(self, record: Record) -> None:
        """One record, in the order of the topic; UnreadableError for what no registry wrote."""
        key, value = records.read(record)
        try:
            self._apply(key, value)
        except (KeyError, TypeError, ValueError) as cause:
            raise records.UnreadableError(f"{key['keytype']} record: {cause!r}") from cause

    def _apply(self, key: dict[str, Any], value: dict[str, Any] | None) -> None:
        subject = key.get("subject")
        match key["keytype"]:
            case records.SCHEMA:
                self._schema(str(subject), int(key["version"]), value)
            case records.CONFIG:
                self._put_level(subject, value)
            case records.MODE:
                self._put_mode(subject, value)
            case records.DELETE_SUBJECT if value is not None:
                self._delete_up_to(str(subject), int(value["version"]))
            case records.CLEAR_SUBJECT:
                self._subjects.pop(str(subject), None)
            case _:
                # NOOP, and what later versions of other registries may add.
                return

    def _put_level(self, subject: str | None, value: dict[str, Any] | None) -> None:
        level = None if value is None else value.get("compatibilityLevel")
        if level is None:
            self._levels.pop(subject, None)
        else:
            self._levels[subject] = Level(level)

    def _put_mode(self, subject: str | None, value: dict[str, Any] | None) -> None:
        if value is None:
            self._modes.pop(subject, None)
        else:
            self._modes[subject] = str(value["mode"])

    def _schema(self, subject: str, version: int, value: dict[str, Any] | None) -> None:
        if value is not None:
            new = _version(subject, version, value)
            self._subjects.setdefault(subject, {})[version] = new
            self._max_id = max(self._max_id, new.schema_id)
        elif subject in self._subjects:
            self._subjects[subject].pop(version, None)
            if not self._subjects[subject]:
                del self._subjects[subject]

    def _delete_up_to(self, subject: str, last: int) -> None:
        for number, version in self._subjects.get(subject, {}).items():
            if number <= last and not version.deleted:
                value = {**version.value, "deleted": True}
                self._subjects[subject][number] = _version(subject, number, value)

    # ------------------------------------------------------------------------------------------------- questions
    def subjects(self, *, deleted: bool = False) -> list[str]:
        return sorted(subject for subject in self._subjects if self.versions(subject, deleted=deleted))

    def versions(self, subject: str, *, deleted: bool = False) -> list[Version]:
        """Versions of the subject, oldest first; `deleted` includes the soft-deleted ones."""
        return [v for _, v in sorted(self._subjects.get(subject, {}).items()) if deleted or not v.deleted]

    def everything(self, *, deleted: bool = False) -> Iterator[Version]:
        for subject in self.subjects(deleted=deleted):
            yield from self.versions(subject, deleted=deleted)

    def by_id(self, schema_id: int) -> Version | None:
        """Any version with that id; the text stays readable after a soft delete."""
        return next((v for v in self.everything(deleted=True) if v.schema_id == schema_id), None)

    def id_of_text(self, text: str) -> int | None:
        """The id this canonical text has in whatever subject."""
        return next((v.schema_id for v in self.everything(deleted=True) if v.match == text), None)

    @property
    def max_id(self) -> int:
        return self._max_id

    def own_level(self, subject: str | None) -> Level | None:
        return self._levels.get(subject)

    def level(self, subject: str | None) -> Level:
        """The level that counts for the subject."""
        return self._levels.get(subject, self._levels.get(None, DEFAULT_LEVEL))

    def own_mode(self, subject: str | None) -> str | None:
        return self._modes.get(subject)

    def mode(self, subject: str | None) -> str:
        return self._modes.get(subject, self._modes.get(None, DEFAULT_MODE))


def _version(subject: str, version: int, value: dict[str, Any]) -> Version:
    text = value["schema"]
    schema_type = value.get("schemaType") or AVRO
    return Version(
        subject=subject,
        version=version,
        schema_id=int(value["id"]),
        text=text,
        schema_type=schema_type,
        deleted=bool(value.get("deleted", False)),
        value=value,
        match=_match(text, schema_type),
    )


def _match(text: str, schema_type: str) -> str:
    """What equal schemas share: the canonical form, or the text itself where it is not Avro that can be read."""
    if schema_type != AVRO:
        return json.dumps([schema_type, text])
    try:
        return canonical(text)
    except InvalidSchemaError:
        return text
