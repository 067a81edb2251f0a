"""Ids: the same thing gives the same id for ever, different things never share one."""

from __future__ import annotations

import re
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core import ids

parts = st.lists(st.one_of(st.text(max_size=8), st.integers(), st.none()), max_size=5)


def as_told(values: list[str | int | None]) -> list[tuple[bool, str]]:
    # A number and its text are the same part; None and the empty string are not.
    return [(value is None, "" if value is None else str(value)) for value in values]


@given(a=parts, b=parts)
def test_event_ids_differ_exactly_when_the_parts_do(a: list[str | int | None], b: list[str | int | None]) -> None:
    same = as_told(a) == as_told(b)
    assert (ids.event_id("message", "i", 1, *a) == ids.event_id("message", "i", 1, *b)) is same


@given(parts)
def test_event_ids_are_version_5_uuids_of_the_namespace(values: list[str | int | None]) -> None:
    joined = ids._join(("message", "i", 1, *values))
    assert ids.event_id("message", "i", 1, *values) == str(uuid.uuid5(ids.NAMESPACE, joined))


def test_ids_never_change() -> None:
    """Written ids live in logs and in other people's databases: these literals must not be touched."""
    message = ids.message_event_id("sales-1", 1_700_000_000_000, chat="c", sender="s", message_id="M", kind="new")
    assert message == "3436c434-94be-5361-b723-f69fe2826c80"
    assert ids.result_id("sales-1", "cmd-1") == "a28939f9-12d2-5911-9e8c-795fb64af195"
    assert ids.message_id(b"secret", "sales-1", "cmd-1") == "3EB0A6E63F6904387A28E5"
    assert ids.session_event_id("sales-1", 1, session_epoch=2, seq=3) == "fe4229ee-bf46-5c5d-a764-02cd2888fa34"


def test_kinds_and_edits_are_apart() -> None:
    def made(kind: str, edit: int | None = None) -> str:
        return ids.message_event_id("i", 1, chat="c", sender="s", message_id="M", kind=kind, edit_time_ms=edit)

    assert len({made("new"), made("undecryptable"), made("edit"), made("edit", 5), made("edit", 6)}) == 5


def test_two_instances_made_in_one_millisecond_are_apart() -> None:
    assert ids.event_id("message", "a", 1, "x") != ids.event_id("message", "b", 1, "x")


@given(secret=st.binary(min_size=16, max_size=32), instance=st.text(max_size=9), command=st.text(max_size=9))
def test_message_ids_look_like_whatsapps(secret: bytes, instance: str, command: str) -> None:
    assert re.fullmatch(r"3EB0[0-9A-F]{18}", ids.message_id(secret, instance, command))


def test_message_ids_depend_on_the_secret_and_on_where_the_names_divide() -> None:
    made = {ids.message_id(secret, *pair) for secret in (b"a" * 32, b"b" * 32) for pair in (("a", "bc"), ("ab", "c"))}
    assert len(made) == 4


@given(instance=st.text(min_size=1, max_size=20), partitions=st.integers(1, 64))
def test_partitions_are_in_range(instance: str, partitions: int) -> None:
    assert 0 <= ids.partition_for(instance, partitions) < partitions


@pytest.mark.parametrize(
    ("key", "java_hash"),
    [("21", -973932308), ("foobar", -790332482), ("abc", 479470107), ("a-little-bit-long-string", -985981536)],
)
def test_partitions_are_those_of_kafkas_own_partitioner(key: str, java_hash: int) -> None:
    """Hashes from the tests of Kafka's Java client, so that any producer finds the instance's partition."""
    assert ids.partition_for(key, 1000) == (java_hash & 0x7FFFFFFF) % 1000
