"""`python -m analytics.sink`: one sink process.

Exit codes as those of the stream processors (streams.runner): 0 asked to stop, 2 settings or topics are wrong, 3 position or
mark cannot be used, 4 another process took the slot.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from types import FrameType

from confluent_kafka import KafkaException

from analytics.sink.rows import TOPICS
from analytics.sink.sink import Sink
from analytics.sink.store import Store
from core.clock import SystemClock
from core.errors import DBError, Fenced, SettingsError
from core.faults import faults_from
from core.settings import load_settings
from core.telemetry.health import Check, HealthServer
from core.telemetry.logs import configure_logging, get_logger
from core.telemetry.metrics import BUILD_INFO, Metrics
from schemas.codec import open_codec

COMPONENT = "sink"
EXIT_SETTINGS, EXIT_STATE, EXIT_FENCED = 2, 3, 4


def main() -> int:
    try:
        settings = load_settings()
        if not settings.clickhouse.enabled:
            raise SettingsError("config.invalid", "clickhouse.enabled is false: there is nothing to insert into")
    except SettingsError as cause:
        sys.stderr.write(f"{COMPONENT}: {cause.message}\n")
        return EXIT_SETTINGS
    telemetry, slot = settings.telemetry, settings.sink.slot
    configure_logging(level=telemetry.log_level, log_format=telemetry.log_format, component=COMPONENT, slot=slot)
    log = get_logger(__name__)
    metrics, stop = Metrics(), threading.Event()
    metrics.gauge(BUILD_INFO).labels(COMPONENT, slot).set(1)
    registry_trouble: list[str | None] = [None]
    codec = open_codec(settings, stop=stop, on_state=lambda text: registry_trouble.__setitem__(0, text))
    sink = Sink(
        settings,
        codec=codec,
        store=Store(settings.clickhouse),
        metrics=metrics,
        faults=faults_from(os.environ),
        clock=SystemClock(),
    )
    health = HealthServer(COMPONENT, metrics, host=telemetry.host, port=telemetry.port)
    health.add_check("kafka", sink.kafka_health)
    health.add_check("clickhouse", sink.clickhouse_health)
    health.add_check("registry", lambda: Check(registry_trouble[0] is None, registry_trouble[0] or "answers"))
    health.start()

    def ask_to_stop(number: int, _frame: FrameType | None) -> None:
        log.info("stopping", signal=signal.Signals(number).name)
        stop.set()
        sink.stop()

    signal.signal(signal.SIGTERM, ask_to_stop)
    signal.signal(signal.SIGINT, ask_to_stop)
    try:
        codec.prepare(*TOPICS, "deadletter")
        sink.run()
    except Fenced as cause:
        log.error("fenced", error=cause)
        return EXIT_FENCED
    except SettingsError as cause:
        log.error("settings_wrong", error=cause)
        return EXIT_SETTINGS
    except KafkaException as cause:
        # While partitions were being taken over; the supervisor starts it again.
        log.error("kafka_failed", detail=cause.args[0].str())
        return EXIT_STATE
    except DBError as cause:
        if stop.is_set() and cause.code == "db.registry_unavailable":
            return 0
        log.error("position_unusable", error=cause)
        return EXIT_STATE
    finally:
        health.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
