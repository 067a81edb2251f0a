"""Topics of the table against a cluster: what differs, and making it so.

Missing topics are made and settings corrected; a partition count is never changed, because keys would move and the order
of an instance's records would be lost.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Literal

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewTopic, ResourceType  # type: ignore[attr-defined]

from core.errors import DBError, SettingsError
from core.kafka.clients import KafkaClients, answered
from core.kafka.sizes import FRAMING_BYTES
from core.settings import Settings
from core.topics import TOPICS, Retention, Topic

SCHEMAS_TOPIC = "_schemas"
_TIMEOUT_S = 30.0

Kind = Literal["create", "alter", "partitions"]


@dataclass(frozen=True, slots=True)
class Change:
    """`partitions` cannot be applied: it is a fault to be looked at. `topic` is the full name."""

    kind: Kind
    topic: str
    partitions: int = 0
    config: tuple[tuple[str, str], ...] = ()
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Wanted:
    """One topic as it shall stand in the cluster."""

    name: str
    partitions: int
    config: Mapping[str, str]


def topic_config(topic: Topic) -> dict[str, str]:
    """Kafka's settings of a topic of the table."""
    config = {
        "cleanup.policy": topic.retention.value,
        "max.message.bytes": str(topic.max_record_bytes + FRAMING_BYTES),
        **topic.config,
    }
    if topic.retention is Retention.DELETE:
        config["retention.ms"] = str(topic.retention_ms)
    if topic.append_time:
        config["message.timestamp.type"] = "LogAppendTime"
    return config


def wanted(settings: Settings, topics: Iterable[Topic] = TOPICS) -> list[Wanted]:
    """The table with prefix and partition count, and the registry's own topic."""
    count = settings.kafka.partitions
    out = [Wanted(settings.kafka.prefix + topic.name, count, topic_config(topic)) for topic in topics]
    # Its name has no prefix: other registries look for it under this one.
    return [*out, Wanted(SCHEMAS_TOPIC, 1, {"cleanup.policy": "compact"})]


def differences(wishes: Iterable[Wanted], present: Mapping[str, tuple[int, Mapping[str, str]]]) -> list[Change]:
    """Pure: what is to be done, from name → (partitions, settings) as they are."""
    out: list[Change] = []
    for wish in wishes:
        found = present.get(wish.name)
        if found is None:
            out.append(Change("create", wish.name, wish.partitions, tuple(sorted(wish.config.items()))))
            continue
        partitions, config = found
        if partitions != wish.partitions:
            detail = f"has {partitions} partitions, the settings say {wish.partitions}"
            out.append(Change("partitions", wish.name, partitions, detail=detail))
        other = {name: value for name, value in wish.config.items() if config.get(name) != value}
        if other:
            detail = ", ".join(f"{name}: {config.get(name)} → {value}" for name, value in sorted(other.items()))
            out.append(Change("alter", wish.name, partitions, tuple(sorted(other.items())), detail))
    return out


def plan(settings: Settings, topics: Iterable[Topic] = TOPICS) -> list[Change]:
    """What `apply` would do, and what it would refuse."""
    admin = KafkaClients(settings.kafka).admin()
    wishes = wanted(settings, topics)
    return differences(wishes, _present(admin, [wish.name for wish in wishes]))


def apply(settings: Settings, topics: Iterable[Topic] = TOPICS) -> list[Change]:
    """Make topics and correct settings; refuses everything when a partition count differs."""
    changes = plan(settings, topics)
    refused = [f"{change.topic} {change.detail}" for change in changes if change.kind == "partitions"]
    if refused:
        raise SettingsError(
            "config.topics",
            "; ".join(refused) + ". A partition count is never changed: correct kafka.partitions, or move the data to "
            "topics with another prefix",
        )
    admin = KafkaClients(settings.kafka).admin()
    new = [
        NewTopic(change.topic, change.partitions, settings.kafka.replication_factor, config=dict(change.config))
        for change in changes
        if change.kind == "create"
    ]
    if new:
        _finish(admin.create_topics(new, operation_timeout=_TIMEOUT_S, request_timeout=_TIMEOUT_S))
    for change in changes:
        if change.kind == "alter":
            entries = [
                ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET) for name, value in change.config
            ]
            resource = ConfigResource(ResourceType.TOPIC, change.topic, incremental_configs=entries)
            _finish(admin.incremental_alter_configs([resource], request_timeout=_TIMEOUT_S))
    return changes


def copartitioned(clients: KafkaClients, topics: Iterable[str], timeout: float = 5.0) -> int:
    """The one partition count of these topics (names without prefix), or `config.topics`."""
    prefix = clients.settings.prefix
    found = clients.admin().list_topics(timeout=timeout).topics
    missing = sorted(name for name in topics if prefix + name not in found)
    if missing:
        raise SettingsError("config.topics", f"not in the cluster: {', '.join(prefix + name for name in missing)}")
    counts = {prefix + name: len(found[prefix + name].partitions) for name in topics}
    if len(set(counts.values())) != 1:
        listed = ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))
        raise SettingsError("config.topics", f"instance-keyed topics must have one partition count: {listed}")
    return next(iter(counts.values()))


def check(settings: Settings) -> int:
    """The one partition count of all instance-keyed topics of the table."""
    return copartitioned(KafkaClients(settings.kafka), [topic.name for topic in TOPICS if topic.keyed_by_instance])


def _present(admin: AdminClient, names: list[str]) -> dict[str, tuple[int, Mapping[str, str]]]:
    try:
        topics = admin.list_topics(timeout=_TIMEOUT_S).topics
        counts = {name: len(topics[name].partitions) for name in names if name in topics}
        if not counts:
            return {}
        futures = admin.describe_configs(
            [ConfigResource(ResourceType.TOPIC, name) for name in counts], request_timeout=_TIMEOUT_S
        )
        configs = {
            resource.name: {name: str(entry.value) for name, entry in answered(future, _TIMEOUT_S).items()}
            for resource, future in futures.items()
        }
    except KafkaException as cause:
        raise DBError("db.kafka_unavailable", f"cannot read the topics: {cause.args[0].str()}") from cause
    return {name: (count, configs[name]) for name, count in counts.items()}


def _finish(futures: Mapping[Any, Future[Any]]) -> None:
    for subject, future in futures.items():
        try:
            answered(future, _TIMEOUT_S)
        except KafkaException as cause:
            raise DBError("db.kafka_unavailable", f"{subject}: {cause.args[0].str()}") from cause
