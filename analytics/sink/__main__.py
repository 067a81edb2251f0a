"""`python -m analytics.sink`: one sink process."""

from __future__ import annotations

import gc
import os
import sys

from analytics.sink.rows import TOPICS
from analytics.sink.sink import Sink
from analytics.sink.store import Store
from core.clock import SystemClock
from core.errors import SettingsError
from core.faults import faults_from
from core.process import Process, with_settings
from core.settings import Settings
from core.telemetry.health import HealthServer
from schemas.codec import open_codec

COMPONENT = "sink"
# New objects until the collector looks for cycles. A batch is tens of thousands that all live until it is inserted and are in
# none: looking each 700, the default, is a tenth of the work.
_OBJECTS = 50_000


def run(settings: Settings) -> int:
    if not settings.clickhouse.enabled:
        raise SettingsError("config.invalid", "clickhouse.enabled is false: there is nothing to insert into")
    gc.set_threshold(_OBJECTS)
    process = Process(COMPONENT, settings.sink.slot, settings.telemetry)
    codec = open_codec(settings, stop=process.stopping, on_state=process.registry_state)
    sink = Sink(
        settings,
        codec=codec,
        store=Store(settings.clickhouse),
        metrics=process.metrics,
        faults=faults_from(os.environ),
        clock=SystemClock(),
    )
    health = HealthServer(COMPONENT, process.metrics, host=settings.telemetry.host, port=settings.telemetry.port)
    health.add_check("kafka", sink.kafka_health)
    health.add_check("clickhouse", sink.clickhouse_health)

    def work() -> None:
        codec.prepare(*TOPICS, "deadletter")
        sink.run()

    return process.run(health, work, sink.stop)


def main() -> int:
    return with_settings(COMPONENT, run)


if __name__ == "__main__":
    sys.exit(main())
