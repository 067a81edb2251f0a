"""What this slot owns, and what each kind of commit says about it. Pure: no clients, no clock.

Work carries its records, the position item where it changes, and offsets with the claim; claim and release add the owner
record; a keep-alive repeats the offsets.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from confluent_kafka import TopicPartition

from core.errors import SettingsError
from core.kafka import sizes
from core.kafka.marks import OWNER_KEY, POSITION_KEY, Mark, MarkKind, encode_position
from core.kafka.processor import Batch, OutRecord
from core.topics import BY_NAME, Topic

Source = tuple[str, int]


def marked(state_topic: str | None, topics: Mapping[str, Topic] = BY_NAME) -> str | None:
    """The state topic if marks and positions stand in it: in internal ones only, others are read by everybody."""
    if state_topic is None:
        return None
    if state_topic not in topics:
        raise SettingsError("config.topics", f"{state_topic} is not in the topic table")
    return state_topic if topics[state_topic].internal else None


class Payload(NamedTuple):
    records: list[OutRecord]
    offsets: list[TopicPartition]


@dataclass(slots=True)
class _Holding:
    """Positions as committed, and as the state topic's position item has them."""

    positions: dict[Source, int]
    written: dict[str, int] | None


def _by_topic(positions: Mapping[Source, int]) -> dict[str, int]:
    return {topic: offset for (topic, _), offset in positions.items()}


class Holdings:
    """`state_topic` is None where marks and positions are not written into a topic."""

    def __init__(self, *, prefix: str, input_topic: str, state_topic: str | None, slot: str, incarnation: str) -> None:
        self._prefix = prefix
        self._input_topic = input_topic
        self._state_topic = state_topic
        self._slot = slot
        self._incarnation = incarnation
        # Our present id in the group.
        self.member = ""
        self._held: dict[int, _Holding] = {}

    def __contains__(self, partition: int) -> bool:
        return partition in self._held

    def __len__(self) -> int:
        return len(self._held)

    @property
    def partitions(self) -> frozenset[int]:
        return frozenset(self._held)

    def positions(self, partition: int) -> Mapping[Source, int]:
        return self._held[partition].positions

    def all_positions(self) -> dict[Source, int]:
        return {source: offset for held in self._held.values() for source, offset in held.positions.items()}

    def add(self, partition: int, positions: Mapping[Source, int]) -> None:
        """After its claim committed, which wrote the position item too."""
        self._held[partition] = _Holding(dict(positions), _by_topic(positions))

    def remove(self, partition: int) -> None:
        del self._held[partition]

    def validate(self, batch: Batch) -> None:
        """A batch that may not be committed is a fault of the processor: nothing of it goes out."""
        for partition, work in batch.items():
            if partition not in self._held:
                raise ValueError(f"work for partition {partition}, which is not owned")
            known = self._held[partition].positions
            for source, offset in work.positions.items():
                if source not in known or offset < known[source]:
                    raise ValueError(f"the position of {source} would go from {known.get(source)} to {offset}")
            for record in work.records:
                sizes.check(record)

    def work(self, batch: Batch) -> Payload:
        """The input's offset stands in every commit: it carries the claim and proves the group's generation."""
        out = Payload([], [])
        mark = self._mark("claim")
        for partition, work in batch.items():
            held = self._held[partition]
            positions = {**held.positions, **work.positions}
            out.records.extend(work.records)
            out.records.extend(self._position_item(partition, positions, held.written))
            named = {**work.positions, self._input(partition): positions[self._input(partition)]}
            out.offsets.extend(self._offsets(named, mark))
        return out

    def applied(self, batch: Batch) -> None:
        """The work was committed."""
        for partition, work in batch.items():
            held = self._held.get(partition)
            if held is not None:
                held.positions.update(work.positions)
                held.written = _by_topic(held.positions)

    def claim(self, partition: int, positions: Mapping[Source, int], written: Mapping[str, int] | None) -> Payload:
        mark = self._mark("claim")
        records = [*self._owner_record(partition, mark), *self._position_item(partition, positions, written)]
        return Payload(records, self._offsets(positions, mark))

    def release(self, partitions: Iterable[int]) -> Payload:
        out = Payload([], [])
        mark = self._mark("release")
        for partition in partitions:
            out.records.extend(self._owner_record(partition, mark))
            out.offsets.extend(self._offsets(self._held[partition].positions, mark))
        return out

    def keep_alive(self) -> Payload:
        mark = self._mark("claim")
        inputs = {self._input(number): held.positions[self._input(number)] for number, held in self._held.items()}
        return Payload([], self._offsets(inputs, mark))

    def _input(self, partition: int) -> Source:
        return (self._input_topic, partition)

    def _mark(self, kind: MarkKind) -> str:
        return Mark(kind, self._slot, self._incarnation, self.member).encode()

    def _offsets(self, positions: Mapping[Source, int], metadata: str) -> list[TopicPartition]:
        return [
            TopicPartition(self._prefix + topic, partition, offset, metadata=metadata)
            for (topic, partition), offset in positions.items()
        ]

    def _owner_record(self, partition: int, mark: str) -> list[OutRecord]:
        if self._state_topic is None:
            return []
        return [OutRecord(self._state_topic, OWNER_KEY, mark.encode(), partition=partition)]

    def _position_item(
        self, partition: int, positions: Mapping[Source, int], written: Mapping[str, int] | None
    ) -> list[OutRecord]:
        at = _by_topic(positions)
        if self._state_topic is None or at == written:
            return []
        return [OutRecord(self._state_topic, POSITION_KEY, encode_position(at), partition=partition)]
