"""`python -m streams.limiter`: one limiter process."""

from __future__ import annotations

import sys

from core.kafka.codec import Codec
from core.settings import Settings
from core.telemetry.metrics import Metrics
from streams import runner
from streams.limiter.limits import Policy
from streams.limiter.processor import LimiterProcessor

_TOPICS = ("commands", "commands.admitted", "results", "events.session", "instances", "deadletter")


def build(settings: Settings, codec: Codec, metrics: Metrics) -> LimiterProcessor:
    """The processor of these settings; its caches stand under the slot, so that two slots never share a file."""
    policy = Policy(interval_ms=settings.limiter.interval_ms, grace_ms=settings.limiter.unknown_grace_ms)
    folder = settings.data_dir / "limiter" / settings.limiter.slot
    return LimiterProcessor(codec, partitions=settings.kafka.partitions, folder=folder, policy=policy, metrics=metrics)


if __name__ == "__main__":
    sys.exit(runner.main("limiter", _TOPICS, build))
