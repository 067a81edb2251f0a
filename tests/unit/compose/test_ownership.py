"""Owner, standby and lag of every partition, from what Kafka has and what the connectors of this machine say."""

from __future__ import annotations

import io
from typing import Any

from rich.console import Console

from compose.cli.stack_view import instances_table, owner_line, partitions_table
from compose.stack import ownership
from compose.stack.ownership import Committed, Group, joined, partitions
from connectors.processor import ConnectorProcessor
from core.kafka.marks import Mark

CLAIM_A, CLAIM_B = Mark("claim", "a", "1"), Mark("claim", "b", "1")
RELEASE_B = Mark("release", "b", "1")


def told(partition: int, role: str, lag: int | None = None) -> dict[str, Any]:
    return {"partition": partition, "role": role, "lag": lag, "position": None}


def rows(group: Group | None, said: dict[str, list[dict[str, Any]]]) -> dict[int, dict[str, Any]]:
    return {row["partition"]: row for row in partitions(group, said)}


def test_it_is_the_connectors_group_and_input() -> None:
    assert ConnectorProcessor.name == ownership.PROCESSOR
    assert ConnectorProcessor.input_topic == ownership.INPUT


def test_owners_elsewhere_are_known_by_their_marks() -> None:
    group = Group({0: Committed(CLAIM_A, 3), 1: Committed(RELEASE_B, 0), 2: Committed(None)}, frozenset({"a"}))
    shown = rows(group, {})
    assert [(row["owner"], row["gone"], row["lag"]) for row in shown.values()] == [
        ("a", False, 3),
        (None, False, 0),
        (None, False, None),
    ]


def test_an_owner_that_left_the_group_without_a_release_is_gone() -> None:
    shown = rows(Group({0: Committed(CLAIM_A, 3)}, frozenset({"b"})), {})
    assert (shown[0]["owner"], shown[0]["gone"]) == ("a", True)
    assert "gone" in owner_line(shown[0])


def test_the_last_claim_is_believed_before_a_slot_that_stood_still() -> None:
    group = Group({0: Committed(CLAIM_B, 9)}, frozenset({"a", "b"}))
    shown = rows(group, {"a": [told(0, "owner", 2)], "b": [told(0, "owner", 1)]})
    assert (shown[0]["owner"], shown[0]["lag"]) == ("b", 1)


def test_standbys_and_take_overs_are_told_by_the_connectors() -> None:
    group = Group({0: Committed(CLAIM_A, 9), 1: Committed(CLAIM_A, 9)}, frozenset({"a", "b"}))
    shown = rows(
        group,
        {
            "a": [told(0, "owner", 0)],
            "c": [told(0, "standby"), told(1, "standby")],
            "b": [told(0, "standby"), told(1, "taking over")],
        },
    )
    assert (shown[0]["standby"], shown[0]["taking_over"]) == (["b", "c"], [])
    assert (shown[1]["standby"], shown[1]["taking_over"]) == (["c"], ["b"])
    assert "b takes over" in owner_line(shown[1])


def test_without_kafka_the_connectors_word_stands_alone() -> None:
    shown = rows(None, {"a": [told(0, "owner", 4)]})
    assert (shown[0]["owner"], shown[0]["gone"], shown[0]["lag"]) == ("a", False, 4)


def test_every_partition_has_an_epoch_and_every_instance_its_standby_and_lag() -> None:
    shown = partitions(
        Group({0: Committed(CLAIM_A, 3), 1: Committed(CLAIM_B, 0)}, frozenset({"a", "b"})), {"b": [told(0, "standby")]}
    )
    sessions = [
        {"instance_id": "sales-1", "state": "online", "slot": "a", "partition": 0, "epoch": 41},
        {"instance_id": "sales-2", "state": "online", "slot": "a", "partition": 0, "epoch": 57},
        {"instance_id": "new", "state": "created", "partition": 5, "epoch": None},
    ]
    rows, instances = joined(shown, sessions)
    assert [(row["partition"], row["epoch"]) for row in rows] == [(0, 57), (1, None)]
    assert [(row["standby"], row["lag"]) for row in instances] == [(["b"], 3), (["b"], 3), ([], None)]
    out = io.StringIO()
    console = Console(file=out, width=200)
    console.print(partitions_table(rows))
    console.print(instances_table(instances))
    lines = [line.split() for line in out.getvalue().splitlines()]
    assert ["0", "a", "b", "57", "3"] in lines
    assert ["sales-1", "online", "a", "b", "0", "41", "3"] in lines
