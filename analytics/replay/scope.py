"""Which offsets are read again. Asks Kafka; the decision about one partition (`part`) is pure.

A replay ends where the sink's group stands: what is at or behind its position is the sink's to insert, under its own token,
and nobody else's. What begins before the first offset that is kept is told as gone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from confluent_kafka import Consumer, KafkaException, TopicPartition

from analytics.sink.batches import Source
from analytics.sink.group import CALL_S, Standing, standings
from analytics.sink.sink import GROUP
from core.errors import APIError, DBError
from core.kafka.clients import KafkaClients
from core.kafka.dump import Beginning, End, Offset, Start, Time
from core.kafka.table import watermarks


@dataclass(frozen=True, slots=True)
class Part:
    """Offsets of one partition, `last` not included. `gone`: asked for but not in the log any more, at most; `left`: behind
    the sink's position."""

    topic: str
    partition: int
    first: int
    last: int
    gone: int = 0
    left: int = 0

    @property
    def source(self) -> Source:
        return self.topic, self.partition

    @property
    def offsets(self) -> int:
        return max(0, self.last - self.first)


def part(source: Source, asked: tuple[int, int], kept: tuple[int, int], position: int) -> Part:
    """`asked` and `kept`: first offset and end (not included); `position`: the sink's."""
    first, end = max(asked[0], kept[0]), min(asked[1], kept[1])
    last = min(end, position)
    return Part(
        *source,
        first,
        max(first, last),
        gone=max(0, min(kept[0], asked[1]) - asked[0]),
        left=max(0, end - max(first, position)),
    )


def scope(
    clients: KafkaClients, topics: Sequence[str], partition: int | None, start: Start, end: Start | None
) -> list[Part]:
    """The parts of these topics, in order. `end` None: as far as the sink has come. DBError where Kafka does not answer."""
    if isinstance(start, End):
        raise APIError("api.validation", "--from end: there is nothing behind the end to read again", field="--from")
    stands = standings(clients, GROUP, topics)
    wanted = [source for source in stands if partition is None or source[1] == partition]
    for topic in topics:
        if not any(source[0] == topic for source in wanted):
            what = topic if partition is None else f"{topic}[{partition}]"
            raise APIError("api.not_found", f"there is no {what}; `wharf topics diff` shows what differs")
    reader = clients.marks_reader("wharf.replay.marks")
    try:
        return _parts(reader, clients.settings.prefix, wanted, stands, start, end)
    except KafkaException as cause:
        raise DBError(
            "db.kafka_unavailable", f"Kafka at {clients.settings.bootstrap}: {cause.args[0].str()}"
        ) from cause
    finally:
        reader.close()


def _parts(
    reader: Consumer,
    prefix: str,
    wanted: Sequence[Source],
    stands: Mapping[Source, Standing],
    start: Start,
    end: Start | None,
) -> list[Part]:
    kept = {source: watermarks(reader, prefix + source[0], source[1], CALL_S) for source in wanted}
    starts = _offsets(reader, prefix, kept, start)
    if isinstance(start, Time):
        # Where the first that is kept is meant, others before it may have been meant, too.
        starts = {source: 0 if offset == kept[source][0] else offset for source, offset in starts.items()}
    ends = {source: high for source, (_, high) in kept.items()} if end is None else _offsets(reader, prefix, kept, end)
    return [
        part(source, (starts[source], ends[source]), kept[source], stands[source].position) for source in sorted(kept)
    ]


def _offsets(reader: Consumer, prefix: str, kept: Mapping[Source, tuple[int, int]], point: Start) -> dict[Source, int]:
    match point:
        case Beginning():
            return dict.fromkeys(kept, 0)
        case End():
            return {source: high for source, (_, high) in kept.items()}
        case Offset(offset):
            return dict.fromkeys(kept, offset)
        case Time(epoch_ms):
            asked = [TopicPartition(prefix + topic, number, epoch_ms) for topic, number in kept]
            found = {}
            for entry in reader.offsets_for_times(asked, CALL_S):
                source = (entry.topic.removeprefix(prefix), entry.partition)
                # A negative offset: nothing at or after that time.
                found[source] = kept[source][1] if entry.offset < 0 else entry.offset
            return found
