"""What the registry does: decisions over the state, written to the log.

Rule: one write at a time; a write decides, appends, and answers when it was read back. Questions are answered once the
topic was read to its end, and go on being answered while Kafka is away.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from schemas.registry import errors, records
from schemas.registry.avro_text import InvalidSchemaError, canonical
from schemas.registry.compatibility import Conflict, Level, check
from schemas.registry.records import Record
from schemas.registry.state import AVRO, State, Version

MODES = ("READWRITE", "READONLY")
_MAX_VERSION = 2**31 - 1

Body = dict[str, Any]


class Log(Protocol):
    @property
    def trouble(self) -> str | None: ...

    @property
    def ready(self) -> bool: ...

    def settle(self) -> None: ...

    def append(self, batch: Sequence[Record]) -> None: ...


class Service:
    """`lock` is the one under which the log changes `state`."""

    def __init__(self, state: State, log: Log, lock: threading.RLock) -> None:
        self._state = state
        self._log = log
        self._lock = lock
        self._writing = threading.Lock()

    # ------------------------------------------------------------------------------------------------- reading
    def read(self, question: Callable[[State], Any]) -> Any:
        """The answer to a question; 503 before the topic was read to its end."""
        if not self._log.ready:
            raise errors.store_unavailable(self._log.trouble or "starting")
        with self._lock:
            return question(self._state)

    def versions(self, subject: str, *, deleted: bool = False) -> list[Version]:
        found: list[Version] = self.read(lambda state: state.versions(subject, deleted=deleted))
        if not found:
            raise errors.subject_not_found(subject)
        return found

    def version(self, subject: str, wanted: str, *, deleted: bool = False) -> Version:
        number = parse_version(wanted)
        found = self.versions(subject, deleted=deleted)
        if number is None:
            return found[-1]
        for version in found:
            if version.version == number:
                return version
        raise errors.version_not_found(number)

    def by_id(self, schema_id: int) -> Version:
        found: Version | None = self.read(lambda state: state.by_id(schema_id))
        if found is None:
            raise errors.schema_not_found(schema_id)
        return found

    def lookup(self, subject: str, body: Body, *, deleted: bool = False) -> Version:
        """The version of the subject that has this very schema."""
        text = _text(body)
        found = self.versions(subject, deleted=deleted)
        for version in reversed(found):
            if version.match == text:
                return version
        raise errors.schema_not_found()

    def conflicts(self, subject: str, body: Body, wanted: str | None = None) -> list[Conflict]:
        """What speaks against the schema: against one version, or against those the level of the subject wants."""
        text = _text(body)
        level: Level = self.read(lambda state: state.level(subject))
        every: list[Version] = self.read(lambda state: state.versions(subject))
        return _conflicts(level, text, every if wanted is None else [self.version(subject, wanted)])

    # ------------------------------------------------------------------------------------------------- writing
    def register(self, subject: str, body: Body) -> int:
        """The id of the schema, which is a version of the subject from now on."""
        text = _text(body)
        with self._write():
            self._writable(subject)
            live: list[Version] = self.read(lambda state: state.versions(subject))
            for version in live:
                if version.match == text:
                    return version.schema_id
            level: Level = self.read(lambda state: state.level(subject))
            conflicts = _conflicts(level, text, live)
            if conflicts:
                raise errors.incompatible(subject, [f"{c} [{level}]" for c in conflicts])
            every: list[Version] = self.read(lambda state: state.versions(subject, deleted=True))
            known: int | None = self.read(lambda state: state.id_of_text(text))
            schema_id: int = self.read(lambda state: state.max_id) + 1 if known is None else known
            number = every[-1].version + 1 if every else 1
            self._log.append([records.new_schema(subject, number, schema_id, text)])
        return schema_id

    def delete_subject(self, subject: str, *, permanent: bool) -> list[int]:
        with self._write():
            self._writable(subject)
            every = self.versions(subject, deleted=True)
            live = [version for version in every if not version.deleted]
            if permanent:
                if live:
                    raise errors.subject_not_soft_deleted(subject)
                self._log.append([records.schema(subject, version.version, None) for version in every])
                return [version.version for version in every]
            if not live:
                raise errors.subject_soft_deleted(subject)
            batch = [records.delete_subject(subject, every[-1].version)]
            if self.read(lambda state: state.own_level(subject)) is not None:
                batch.append(records.config(subject, None))
            if self.read(lambda state: state.own_mode(subject)) is not None:
                batch.append(records.mode(subject, None))
            self._log.append(batch)
        return [version.version for version in live]

    def delete_version(self, subject: str, wanted: str, *, permanent: bool) -> int:
        with self._write():
            self._writable(subject)
            version = self.version(subject, wanted, deleted=parse_version(wanted) is not None or permanent)
            if permanent:
                if not version.deleted:
                    raise errors.version_not_soft_deleted(subject, version.version)
                self._log.append([records.schema(subject, version.version, None)])
            else:
                if version.deleted:
                    raise errors.version_soft_deleted(subject, version.version)
                self._log.append([records.schema(subject, version.version, {**version.value, "deleted": True})])
        return version.version

    def set_level(self, subject: str | None, level: object) -> Level:
        name = str(level).upper()
        if name not in Level.__members__:
            raise errors.invalid_level(level)
        with self._write():
            self._writable(subject)
            self._log.append([records.config(subject, name)])
        return Level(name)

    def delete_level(self, subject: str | None) -> Level:
        """The level that was taken away."""
        with self._write():
            self._writable(subject)
            level: Level | None = self.read(lambda state: state.own_level(subject))
            if level is None:
                if subject is not None:
                    raise errors.config_not_found(subject)
                return Level(self.read(lambda state: state.level(None)))
            self._log.append([records.config(subject, None)])
        return level

    def set_mode(self, subject: str | None, mode: object) -> str:
        name = str(mode).upper()
        if name not in MODES:
            raise errors.invalid_mode(mode)
        with self._write():
            self.read(lambda state: state.mode(subject))
            self._log.append([records.mode(subject, name)])
        return name

    def delete_mode(self, subject: str) -> str:
        with self._write():
            mode: str | None = self.read(lambda state: state.own_mode(subject))
            if mode is None:
                raise errors.mode_not_found(subject)
            self._log.append([records.mode(subject, None)])
        return mode

    @contextmanager
    def _write(self) -> Iterator[None]:
        """One write at a time, decided over everything that was written before."""
        with self._writing:
            self._log.settle()
            yield

    def _writable(self, subject: str | None) -> None:
        mode = self.read(lambda state: state.mode(subject))
        if mode != MODES[0]:
            raise errors.not_permitted(
                f"{'the registry' if subject is None else f'subject {subject}'} is in {mode} mode"
            )


def parse_version(text: str) -> int | None:
    """The number, or None for the latest."""
    if text in ("latest", "-1"):
        return None
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= _MAX_VERSION:
        raise errors.invalid_version(text)
    return int(text)


def _text(body: Body) -> str:
    """The canonical text of the schema in a request."""
    if (body.get("schemaType") or AVRO) != AVRO:
        raise errors.invalid_schema(f"this registry takes Avro, not {body['schemaType']}")
    if body.get("references"):
        raise errors.invalid_schema("references are not supported: write the types out where they are first used")
    if not isinstance(body.get("schema"), str):
        raise errors.invalid_schema("the body has no member `schema` with the schema's text")
    try:
        return canonical(body["schema"])
    except InvalidSchemaError as cause:
        raise errors.invalid_schema(str(cause)) from cause


def _conflicts(level: Level, text: str, against: Sequence[Version]) -> list[Conflict]:
    avro = [version for version in against if version.schema_type == AVRO]
    return check(level, json.loads(text), [(version.version, json.loads(version.text)) for version in avro])
