"""What `wharf status` and the demo's view show: the supervisor's state, each part's own health, sessions, lag."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import Any

from confluent_kafka import ConsumerGroupTopicPartitions, IsolationLevel, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._listoffsets import OffsetSpec  # its package does not re-export it

from compose.stack import probes
from compose.stack.component import State
from compose.stack.state import ComponentState, StackFiles
from core.kafka.clients import KafkaClients
from core.settings import Settings

CALL_SECONDS = 5.0
KAFKA = "kafka"


def collect(files: StackFiles, settings: Settings) -> dict[str, Any]:
    """JSON-ready; `settings` are those of the running stack."""
    state = files.running()
    if state is None:
        return {"running": False, "data_dir": str(files.data_dir)}
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
        "instances": instances(components),
        "lag": _lag_or_nothing(components, settings),
    }


def instances(components: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The sessions as the connectors tell them."""
    return [session for part in components for session in part["health"].get("instances", [])]


def _component(part: ComponentState, settings: Settings) -> dict[str, Any]:
    health = probes.Health(part.ready)
    if part.state in (State.READY, State.EXTERNAL):
        if part.health_url:
            health = probes.http(part.health_url)
        elif part.name == KAFKA:
            # A node that stands still keeps its process and its port: only an answer shows that it works.
            health = probes.kafka(settings.kafka)
    return {**asdict(part), "healthy": health.ready, "health": health.detail}


def _lag_or_nothing(components: list[dict[str, Any]], settings: Settings) -> list[dict[str, Any]]:
    if not any(part["name"] == KAFKA and part["healthy"] for part in components):
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
