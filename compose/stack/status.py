"""What `wharf status` and the demo's view show: the supervisor's state, each part's own health, ownership, sessions, lag."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import Any

from confluent_kafka import ConsumerGroupTopicPartitions, IsolationLevel, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._listoffsets import OffsetSpec  # its package does not re-export it

from compose.stack import ownership, probes
from compose.stack.component import State
from compose.stack.state import ComponentState, StackFiles
from core.ids import partition_for
from core.kafka.clients import KafkaClients
from core.settings import Settings

CALL_SECONDS = 5.0
KAFKA = "kafka"


def collect(files: StackFiles, settings: Settings) -> dict[str, Any]:
    """JSON-ready; `settings` are those of the running stack. Without one, what an external Kafka tells."""
    state = files.running()
    if state is None:
        report: dict[str, Any] = {"running": False, "data_dir": str(files.data_dir), "instances": []}
        group = ownership.read_group(settings.kafka) if settings.kafka.external else None
        return {**report, "partitions": ownership.partitions(group, {})}
    with ThreadPoolExecutor() as pool:
        components = list(pool.map(lambda part: _component(part, settings), state.components))
    return {
        "running": True,
        "ready": state.ready,
        "pid": state.pid,
        "started_ms": state.started_ms,
        "data_dir": str(files.data_dir),
        "simulated": state.simulated,
        "components": components,
        "partitions": _partitions(components, settings),
        "instances": instances(components),
        "lag": _lag_or_nothing(components, settings),
    }


def instances(components: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The sessions as the connectors tell them."""
    return [session for part in components for session in part["health"].get("instances", [])]


def from_log(
    name: str, instance: dict[str, Any], event: dict[str, Any] | None, owners: Mapping[int, str | None]
) -> dict[str, Any]:
    """The row of an instance that no connector here tells of: by its last session event, not by the present moment."""
    partition = partition_for(name, len(owners))
    envelope = event["envelope"] if event else {}
    return {
        "instance_id": name,
        "state": event["state"] if event else "created",
        "simulated": instance["simulated"],
        "since_ms": envelope.get("received_at"),
        "last_error": event["reason"] if event else None,
        "slot": owners.get(partition),
        "partition": partition,
        "epoch": envelope.get("session_epoch"),
        "from_log": True,
    }


def _component(part: ComponentState, settings: Settings) -> dict[str, Any]:
    health = probes.Health(part.ready)
    if part.state in (State.READY, State.EXTERNAL):
        if part.health_url:
            health = probes.http(part.health_url)
        elif part.name == KAFKA:
            # A node that stands still keeps its process and its port: only an answer shows that it works.
            health = probes.kafka(settings.kafka)
    return {**asdict(part), "healthy": health.ready, "health": health.detail}


def _kafka_answers(components: list[dict[str, Any]]) -> bool:
    return any(part["name"] == KAFKA and part["healthy"] for part in components)


def _partitions(components: list[dict[str, Any]], settings: Settings) -> list[dict[str, Any]]:
    group = None
    if _kafka_answers(components):
        # It may go away meanwhile; its own row says so.
        with contextlib.suppress(KafkaException, TimeoutError):
            group = ownership.read_group(settings.kafka)
    return ownership.partitions(group, ownership.told_by(components))


def _lag_or_nothing(components: list[dict[str, Any]], settings: Settings) -> list[dict[str, Any]]:
    if not _kafka_answers(components):
        return []
    try:
        return group_lags(KafkaClients(settings.kafka, "wharf-status").admin(), settings.kafka.prefix)
    except (KafkaException, TimeoutError):
        return []  # it went away meanwhile; its own row says so


def group_lags(admin: AdminClient, prefix: str) -> list[dict[str, Any]]:
    """Records not yet consumed, per group and topic, of the topics with our prefix."""
    groups = [group.group_id for group in admin.list_consumer_groups().result(CALL_SECONDS).valid]
    committed: dict[str, list[TopicPartition]] = {}
    for group in groups:
        asked = admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)])
        positions = asked[group].result(CALL_SECONDS).topic_partitions
        committed[group] = [at for at in positions if at.topic.startswith(prefix) and at.offset >= 0]
    wanted = {(at.topic, at.partition) for positions in committed.values() for at in positions}
    ends = _ends(admin, wanted)
    lags: defaultdict[tuple[str, str], int] = defaultdict(int)
    for group, positions in committed.items():
        for at in positions:
            lags[group, at.topic] += max(0, ends[at.topic, at.partition] - at.offset)
    return [{"group": group, "topic": topic, "lag": lag} for (group, topic), lag in sorted(lags.items())]


def _ends(admin: AdminClient, partitions: set[tuple[str, int]]) -> Mapping[tuple[str, int], int]:
    if not partitions:
        return {}
    asked = admin.list_offsets(
        {
            TopicPartition(topic, partition): OffsetSpec.latest()  # type: ignore[no-untyped-call]
            for topic, partition in partitions
        },
        isolation_level=IsolationLevel.READ_COMMITTED,
    )
    return {(at.topic, at.partition): future.result(CALL_SECONDS).offset for at, future in asked.items()}
