"""What this process is to each partition, as it tells others: made in the loop's thread, swapped in whole, read in any."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Literal

from core.kafka.holdings import Holdings, Source
from core.telemetry import metrics as names
from core.telemetry.metrics import Metrics

Role = Literal["owner", "taking over", "standby"]


@dataclass(frozen=True, slots=True)
class PartitionRole:
    """An owner's position and lag are those in the input topic; unknown while taking over."""

    partition: int
    role: Role
    lag: int | None = None
    position: int | None = None

    def row(self) -> dict[str, object]:
        return asdict(self)


class Roles:
    """Published when ownership changes and each time the lag is measured."""

    def __init__(self, processor: str, input_topic: str, metrics: Metrics) -> None:
        self._processor = processor
        self._input_topic = input_topic
        self._metrics = metrics
        self._measured: set[Source] = set()
        self.rows: tuple[PartitionRole, ...] = ()

    def publish(self, holdings: Holdings, taking_over: Iterable[int], end_of: Callable[[Source], int | None]) -> None:
        self._metrics.gauge(names.OWNED_PARTITIONS).labels(self._processor).set(len(holdings))
        positions = holdings.all_positions()
        lags = {source: max(0, end - at) for source, at in positions.items() if (end := end_of(source)) is not None}
        self._measure(lags)
        rows = {partition: PartitionRole(partition, "taking over") for partition in taking_over}
        for source, position in positions.items():
            topic, partition = source
            if topic == self._input_topic:
                rows[partition] = PartitionRole(partition, "owner", lags.get(source), position)
        self.rows = tuple(rows[partition] for partition in sorted(rows))

    def _measure(self, lags: Mapping[Source, int]) -> None:
        gauge = self._metrics.gauge(names.LAG)
        for topic, partition in self._measured - lags.keys():
            # Somebody else's by now: an old value would look like a partition that stands still.
            gauge.remove(self._processor, topic, str(partition))
        for (topic, partition), lag in lags.items():
            gauge.labels(self._processor, topic, str(partition)).set(lag)
        self._measured = set(lags)
