"""Who owns which partition of the connectors: the committed marks tell it, wherever the owner runs; what the connectors of
this machine say of themselves adds standbys, take-overs under way and a lag that counts no transaction markers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from confluent_kafka import TopicPartition

from core.kafka.clients import KafkaClients
from core.kafka.marks import Mark, decode_mark
from core.kafka.members import static_members
from core.kafka.table import watermarks
from core.settings import KafkaSettings

CALL_SECONDS = 5.0
# The connectors' processor: its name is the group's, its input is what is shared out.
PROCESSOR = "connector"
INPUT = "commands.admitted"

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Committed:
    """The mark of a partition's last commit, none before the first, and how many records follow it."""

    mark: Mark | None
    lag: int | None = None

    @property
    def owner(self) -> str | None:
        return self.mark.slot if self.mark is not None and self.mark.kind == "claim" else None


@dataclass(frozen=True, slots=True)
class Group:
    """As Kafka has it; `members` are the slots that hold a place, for their session time-out after they died."""

    committed: Mapping[int, Committed]
    members: frozenset[str]


def read_group(settings: KafkaSettings) -> Group:
    """Raises KafkaException where Kafka does not answer."""
    clients = KafkaClients(settings, "wharf-status")
    group, topic = settings.prefix + PROCESSOR, settings.prefix + INPUT
    reader = clients.marks_reader(group)
    try:
        known = reader.list_topics(topic, CALL_SECONDS).topics[topic].partitions
        found = reader.committed([TopicPartition(topic, number) for number in sorted(known)], CALL_SECONDS)
        committed = {entry.partition: _committed(entry, _end(reader, entry)) for entry in found}
    finally:
        reader.close()
    return Group(committed, frozenset(static_members(clients, group, CALL_SECONDS)))


def _end(reader: Any, entry: TopicPartition) -> int:
    return watermarks(reader, entry.topic, entry.partition, CALL_SECONDS)[1]


def _committed(entry: TopicPartition, end: int) -> Committed:
    if entry.offset < 0:
        return Committed(None)
    return Committed(decode_mark(entry.metadata), max(0, end - entry.offset))


def told_by(components: Iterable[Row]) -> dict[str, list[Row]]:
    """What each connector of this machine says of partitions, by slot: a component is named by its slot."""
    return {part["name"]: part["health"]["partitions"] for part in components if "partitions" in part["health"]}


def partitions(group: Group | None, told: Mapping[str, list[Row]]) -> list[Row]:
    """One row per partition; without an answer of Kafka, what is told alone."""
    numbers = {row["partition"] for rows in told.values() for row in rows} | set(group.committed if group else ())
    return [_partition(number, group, told) for number in sorted(numbers)]


def joined(partitions: Sequence[Row], instances: Sequence[Row]) -> tuple[list[Row], list[Row]]:
    """Partitions with the highest epoch of their sessions, instances with the standby and the lag of their partition.

    Kafka's own generation of the group says nothing of one partition; a session's epoch grows at every take-over.
    """
    epochs: dict[int, int] = {}
    for row in instances:
        if row.get("epoch") is not None:
            epochs[row["partition"]] = max(row["epoch"], epochs.get(row["partition"], 0))
    by_number = {row["partition"]: row for row in partitions}
    shared = {number: {"standby": row["standby"], "lag": row["lag"]} for number, row in by_number.items()}
    nothing: Row = {"standby": [], "lag": None}
    return (
        [{**row, "epoch": epochs.get(row["partition"])} for row in partitions],
        [{**row, **shared.get(row.get("partition", -1), nothing)} for row in instances],
    )


def _partition(number: int, group: Group | None, told: Mapping[str, list[Row]]) -> Row:
    said = {slot: row for slot, rows in told.items() for row in rows if row["partition"] == number}
    by_role = {role: sorted(slot for slot, row in said.items() if row["role"] == role) for role in _ROLES}
    owner, lag = next(iter(by_role["owner"]), None), None
    if group is not None and number in group.committed:
        # A slot that stood still says that it is the owner until it learns of its fence; the last commit knows better.
        owner, lag = group.committed[number].owner, group.committed[number].lag
    if owner in said and said[owner]["lag"] is not None:
        lag = said[owner]["lag"]
    return {
        "partition": number,
        "owner": owner,
        "gone": owner is not None and group is not None and owner not in group.members,
        "taking_over": by_role["taking over"],
        "standby": by_role["standby"],
        "lag": lag,
    }


_ROLES = ("owner", "taking over", "standby")
