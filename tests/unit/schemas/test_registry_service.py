"""The registry's decisions, over a log in memory that is replayed from its records after every write."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from schemas.registry import records
from schemas.registry.errors import RegistryError
from schemas.registry.records import Record, UnreadableError
from schemas.registry.service import Service
from schemas.registry.state import State


class MemoryLog:
    """The topic as a list; the state sees a record when it is appended, as after a read back."""

    def __init__(self, state: State, before: Sequence[Record] = ()) -> None:
        self.records: list[Record] = []
        self._state = state
        self.ready = True
        self.trouble: str | None = None
        self.append(before)

    def settle(self) -> None:
        pass

    def append(self, batch: Sequence[Record]) -> None:
        for record in batch:
            self.records.append(record)
            self._state.apply(record)

    def compacted(self) -> list[Record]:
        """What compaction may leave: the last record of each key, in order, tombstones gone."""
        last = {record.key: index for index, record in enumerate(self.records)}
        return [r for i, r in enumerate(self.records) if last[r.key] == i and r.value is not None]


def service_over(before: Sequence[Record] = ()) -> tuple[Service, MemoryLog, State]:
    state = State()
    log = MemoryLog(state, before)
    return Service(state, log, threading.RLock()), log, state


def body(*fields: str, **extra: Any) -> dict[str, Any]:
    """A schema whose fields are all optional."""
    listed = [{"name": name, "type": ["null", "string"], "default": None} for name in fields]
    return {"schema": json.dumps({"type": "record", "name": "R", "fields": listed}), **extra}


REQUIRED = {"schema": json.dumps({"type": "record", "name": "R", "fields": [{"name": "z", "type": "int"}]})}


def code(caught: pytest.ExceptionInfo[RegistryError]) -> tuple[int, int]:
    return caught.value.status, caught.value.code


def test_the_same_schema_has_one_id_in_all_subjects_and_no_second_version() -> None:
    service, _, state = service_over()
    first = service.register("a", body("x"))
    assert service.register("a", body("x")) == first
    assert service.register("b", {"schema": json.dumps(json.loads(body("x")["schema"]), indent=2)}) == first
    assert service.register("b", body("x", "y")) == first + 1
    assert [v.version for v in state.versions("a")] == [1]
    assert [v.version for v in state.versions("b")] == [1, 2]


def test_records_are_confluents() -> None:
    service, log, _ = service_over()
    service.register("a-value", {"schema": '{"type": "string"}'})
    service.set_level("a-value", "full")
    service.set_level(None, "NONE")
    service.delete_version("a-value", "1", permanent=False)
    assert [(r.key, r.value) for r in log.records] == [
        (
            b'{"keytype":"SCHEMA","subject":"a-value","version":1,"magic":1}',
            rb'{"subject":"a-value","version":1,"id":1,"schema":"\"string\"","deleted":false}',
        ),
        (b'{"keytype":"CONFIG","subject":"a-value","magic":0}', b'{"compatibilityLevel":"FULL"}'),
        (b'{"keytype":"CONFIG","subject":null,"magic":0}', b'{"compatibilityLevel":"NONE"}'),
        (
            b'{"keytype":"SCHEMA","subject":"a-value","version":1,"magic":1}',
            rb'{"subject":"a-value","version":1,"id":1,"schema":"\"string\"","deleted":true}',
        ),
    ]


def test_delete_subject_is_one_record_and_takes_the_level_along() -> None:
    service, log, state = service_over()
    service.register("a", body("x"))
    service.register("a", body("y"))
    service.set_level("a", "NONE")
    before = len(log.records)
    assert service.delete_subject("a", permanent=False) == [1, 2]
    assert [(r.key, r.value) for r in log.records[before:]] == [
        (b'{"keytype":"DELETE_SUBJECT","subject":"a","magic":0}', b'{"subject":"a","version":2}'),
        (b'{"keytype":"CONFIG","subject":"a","magic":0}', None),
    ]
    assert state.subjects() == []
    assert state.subjects(deleted=True) == ["a"]
    assert service.by_id(1).deleted, "the text stays readable by id"
    assert service.register("a", body("x")) == 1, "its id comes back"
    assert [v.version for v in state.versions("a")] == [3], "its version number does not"


def test_errors_have_confluents_numbers() -> None:
    service, _, _ = service_over()
    service.register("a", body("x"))
    expected: list[tuple[Any, int, int]] = [
        (lambda: service.versions("none"), 404, 40401),
        (lambda: service.version("a", "9"), 404, 40402),
        (lambda: service.by_id(9), 404, 40403),
        (lambda: service.lookup("a", body("y")), 404, 40403),
        (lambda: service.delete_subject("a", permanent=True), 404, 40405),
        (lambda: service.delete_version("a", "1", permanent=True), 404, 40407),
        (lambda: service.delete_level("a"), 404, 40408),
        (lambda: service.register("a", {"schema": "{"}), 422, 42201),
        (lambda: service.register("a", {}), 422, 42201),
        (lambda: service.register("a", body("x", schemaType="PROTOBUF")), 422, 42201),
        (lambda: service.register("a", body("x", references=[{"name": "o"}])), 422, 42201),
        (lambda: service.version("a", "0"), 422, 42202),
        (lambda: service.version("a", "x"), 422, 42202),
        (lambda: service.set_level("a", "SIDEWAYS"), 422, 42203),
        (lambda: service.set_mode(None, "IMPORT"), 422, 42204),
        (lambda: service.register("a", REQUIRED), 409, 409),
    ]
    for action, status, number in expected:
        with pytest.raises(RegistryError) as caught:
            action()
        assert code(caught) == (status, number)
    service.delete_version("a", "latest", permanent=False)
    deleted: list[tuple[Any, int]] = [
        (lambda: service.delete_version("a", "1", permanent=False), 40406),
        (lambda: service.delete_subject("a", permanent=False), 40404),
    ]
    for action, number in deleted:
        with pytest.raises(RegistryError) as caught:
            action()
        assert code(caught) == (404, number)


def test_read_only_refuses_writes_and_says_so() -> None:
    service, _, _ = service_over()
    service.set_mode(None, "READONLY")
    with pytest.raises(RegistryError, match="READONLY") as caught:
        service.register("a", body("x"))
    assert code(caught) == (422, 42205)
    service.set_mode(None, "READWRITE")
    assert service.register("a", body("x")) == 1


def test_nothing_is_answered_before_the_topic_was_read() -> None:
    service, log, _ = service_over()
    log.ready, log.trouble = False, "waiting for Kafka"
    with pytest.raises(RegistryError, match="waiting for Kafka") as caught:
        service.register("a", body("x"))
    assert caught.value.status == 503


def test_what_another_registry_wrote_is_kept() -> None:
    value = {
        "subject": "p", "version": 1, "id": 7, "schemaType": "PROTOBUF", "schema": 'syntax = "proto3";',
        "references": [{"name": "o", "subject": "o", "version": 1}], "guid": "g", "deleted": False,
    }  # fmt: skip
    service, log, _ = service_over(
        [
            records.schema("p", 1, value),
            Record(b'{"keytype":"NOOP","magic":0}', None),
            Record(b'{"keytype":"FUTURE","magic":0}', b'{"x":1}'),
        ]
    )
    assert service.version("p", "1").answer() == {
        "subject": "p", "version": 1, "id": 7, "schema": value["schema"], "schemaType": "PROTOBUF",
        "references": value["references"],
    }  # fmt: skip
    assert service.register("a", body("x")) == 8, "ids go on after the highest"
    service.delete_version("p", "1", permanent=False)
    kept = json.loads(log.records[-1].value or b"")
    assert kept == {**value, "deleted": True}


def test_text_that_is_not_canonical_is_found_again() -> None:
    text = json.dumps(json.loads(body("x")["schema"]), indent=1)
    service, _, _ = service_over([records.new_schema("a", 1, 3, text)])
    assert service.lookup("a", body("x")).schema_id == 3


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (b"x", b"{}"),
        (b"{}", b"{}"),
        (b'{"keytype":"SCHEMA","subject":"a","magic":1}', b"{}"),
        (b'{"keytype":"SCHEMA","subject":"a","version":1,"magic":1}', b"[]"),
        (b'{"keytype":"SCHEMA","subject":"a","version":1,"magic":1}', b'{"id":1}'),
        (b'{"keytype":"CONFIG","subject":"a","magic":0}', b'{"compatibilityLevel":"X"}'),
        (b'{"keytype":"MODE","subject":"a","magic":0}', b"{}"),
        (b'{"keytype":"DELETE_SUBJECT","subject":"a","magic":0}', b"{}"),
    ],
)
def test_what_no_registry_wrote_is_named_and_changes_nothing(key: bytes, value: bytes) -> None:
    state = State()
    with pytest.raises(UnreadableError):
        state.apply(Record(key, value))
    assert state.subjects(deleted=True) == []


SUBJECTS = st.sampled_from(["a", "b"])
FIELD_SETS = st.lists(st.sampled_from(["x", "y", "z"]), unique=True, max_size=3).map(sorted)


class Registry(RuleBasedStateMachine):
    """Whatever is done, a replay of the topic, compacted or not, gives the same answers; ids and versions stay true."""

    @initialize()
    def start(self) -> None:
        self.service, self.log, self.state = service_over()
        self.texts: dict[int, str] = {}

    def attempt(self, action: Any) -> Any:
        try:
            return action()
        except RegistryError:
            return None

    @rule(subject=SUBJECTS, fields=FIELD_SETS)
    def register(self, subject: str, fields: list[str]) -> None:
        schema_id = self.attempt(lambda: self.service.register(subject, body(*fields)))
        if schema_id is not None:
            text = self.service.lookup(subject, body(*fields)).text
            assert self.texts.setdefault(schema_id, text) == text, "an id never changes its meaning"

    @rule(subject=SUBJECTS, permanent=st.booleans())
    def delete_subject(self, subject: str, permanent: bool) -> None:
        self.attempt(lambda: self.service.delete_subject(subject, permanent=permanent))

    @rule(subject=SUBJECTS, version=st.sampled_from(["1", "2", "latest"]), permanent=st.booleans())
    def delete_version(self, subject: str, version: str, permanent: bool) -> None:
        self.attempt(lambda: self.service.delete_version(subject, version, permanent=permanent))

    @rule(subject=st.none() | SUBJECTS, level=st.sampled_from(["NONE", "FULL_TRANSITIVE"]))
    def set_level(self, subject: str | None, level: str) -> None:
        self.attempt(lambda: self.service.set_level(subject, level))

    @rule(subject=SUBJECTS)
    def delete_level(self, subject: str) -> None:
        self.attempt(lambda: self.service.delete_level(subject))

    @invariant()
    def replays_to_the_same(self) -> None:
        wanted = picture(self.state)
        _, _, replayed = service_over(self.log.records)
        assert picture(replayed) == wanted
        _, _, compacted = service_over(self.log.compacted())
        assert picture(compacted) == wanted


def picture(state: State) -> list[Any]:
    versions = [(v.subject, v.version, v.schema_id, v.text, v.deleted) for v in state.everything(deleted=True)]
    return [versions, [state.own_level(subject) for subject in (None, "a", "b")]]


TestRegistry = Registry.TestCase
TestRegistry.settings = settings(max_examples=80, stateful_step_count=25, deadline=None)
