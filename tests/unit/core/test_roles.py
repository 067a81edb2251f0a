"""What a process tells of its partitions."""

from __future__ import annotations

from core.kafka.holdings import Holdings, Source
from core.kafka.roles import PartitionRole, Roles
from core.telemetry.metrics import Metrics


def holdings(**positions: int) -> Holdings:
    """Partition p<n> at that position of the input, and as far in the side input."""
    held = Holdings(prefix="", input_topic="in", state_topic="state", slot="a", incarnation="1")
    for name, position in positions.items():
        partition = int(name.removeprefix("p"))
        held.add(partition, {("in", partition): position, ("side", partition): 0})
    return held


def roles() -> tuple[Roles, Metrics]:
    metrics = Metrics()
    return Roles("copy", "in", metrics), metrics


def test_every_partition_is_told_once_with_its_role_lag_and_position() -> None:
    told, _ = roles()
    ends: dict[Source, int] = {("in", 2): 12, ("side", 2): 99}
    told.publish(holdings(p2=10, p0=5), [1], ends.get)
    assert told.rows == (
        PartitionRole(0, "owner", None, 5),
        PartitionRole(1, "taking over"),
        PartitionRole(2, "owner", 2, 10),
    )
    assert told.rows[2].row() == {"partition": 2, "role": "owner", "lag": 2, "position": 10}


def test_the_lag_of_a_partition_that_went_is_no_longer_measured() -> None:
    told, metrics = roles()
    told.publish(holdings(p0=1, p1=1), [], lambda _source: 4)
    assert metrics.expose().count(b'wharf_lag_records{partition="1"') == 2
    told.publish(holdings(p0=1), [], lambda _source: 4)
    assert b'partition="1"' not in metrics.expose()
    assert b'wharf_lag_records{partition="0",processor="copy",topic="in"} 3.0' in metrics.expose()
