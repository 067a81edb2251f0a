"""`python -m streams.registrar`: one registrar process."""

from __future__ import annotations

import sys

from core.kafka.clients import KafkaClients
from core.kafka.codec import Codec
from core.settings import Settings
from core.telemetry.metrics import Metrics
from core.topics import HOUR_MS
from streams import runner
from streams.registrar.audit_tail import AuditTail
from streams.registrar.processor import AUDIT, RegistrarProcessor

_TOPICS = ("control", "instances", "audit", "deadletter")


def build(settings: Settings, codec: Codec, metrics: Metrics) -> RegistrarProcessor:
    """The processor of these settings."""
    prefix = settings.kafka.prefix
    clients = KafkaClients(settings.kafka, f"wharf-registrar-audit-{settings.registrar.slot}")
    return RegistrarProcessor(
        codec,
        partitions=settings.kafka.partitions,
        retention_ms=settings.registrar.deleted_retention_hours * HOUR_MS,
        simulator_enabled=settings.simulator.enabled,
        audit_tail=AuditTail(clients, prefix + AUDIT, f"{prefix}registrar"),
        metrics=metrics,
    )


if __name__ == "__main__":
    sys.exit(runner.main("registrar", _TOPICS, build))
