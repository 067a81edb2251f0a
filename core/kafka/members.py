"""Who is in a consumer group now, as the group itself sees it."""

from __future__ import annotations

from confluent_kafka import KafkaError, KafkaException

from core.kafka.clients import KafkaClients, answered


def static_members(clients: KafkaClients, group: str, seconds: float) -> dict[str, str]:
    """Slot → member id, which the group gives at each joining; a slot keeps its place until its session time-out.

    Empty for a group that does not exist. KafkaException where Kafka does not answer.
    """
    # Kept in a name: a client that is collected drops what it was asked.
    admin = clients.admin()
    try:
        described = answered(admin.describe_consumer_groups([group], request_timeout=seconds)[group], seconds)
    except KafkaException as cause:
        if cause.args[0].code() == KafkaError.GROUP_ID_NOT_FOUND:
            return {}
        raise
    return {member.group_instance_id: member.member_id for member in described.members if member.group_instance_id}
