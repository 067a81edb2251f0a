"""Runs one stream processor as a process: settings, logs, metrics, health, registry, the loop, and its orderly end.

Exit codes: 0 asked to stop, 2 settings or topics are wrong, 3 state or position cannot be used, 4 another process took
the slot (start again: it is then the newer one).
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import TypeAlias

from core.errors import DBError, Fenced, SettingsError
from core.faults import clock_from, faults_from
from core.kafka.codec import Codec
from core.kafka.loop import TransactionLoop
from core.kafka.processor import Processor
from core.settings import ProcessorSettings, Settings, load_settings
from core.telemetry.health import Check, HealthServer
from core.telemetry.logs import configure_logging, get_logger
from core.telemetry.metrics import BUILD_INFO, Metrics
from schemas.codec import open_codec

EXIT_SETTINGS, EXIT_STATE, EXIT_FENCED = 2, 3, 4

Build: TypeAlias = Callable[[Settings, Codec, Metrics], Processor]


def main(component: str, topics: tuple[str, ...], build: Build) -> int:
    """`topics` are those whose schemas must be registered; `component` is also the name of the settings' section."""
    try:
        settings = load_settings()
    except SettingsError as cause:
        sys.stderr.write(f"{component}: {cause.message}\n")
        return EXIT_SETTINGS
    return _run(component, settings, topics, build)


def _run(component: str, settings: Settings, topics: tuple[str, ...], build: Build) -> int:
    own: ProcessorSettings = getattr(settings, component)
    telemetry = settings.telemetry
    configure_logging(level=telemetry.log_level, log_format=telemetry.log_format, component=component, slot=own.slot)
    log = get_logger(__name__)
    metrics, stop = Metrics(), threading.Event()
    metrics.gauge(BUILD_INFO).labels(component, own.slot).set(1)
    trouble: list[str | None] = [None]
    codec = open_codec(settings, stop=stop, on_state=lambda text: trouble.__setitem__(0, text))
    loop = TransactionLoop(
        build(settings, codec, metrics),
        settings,
        slot=own.slot,
        session_timeout_ms=own.session_timeout_ms,
        clock=clock_from(os.environ),
        metrics=metrics,
        faults=faults_from(os.environ),
    )
    health = HealthServer(component, metrics, host=telemetry.host, port=telemetry.port)
    health.add_check("kafka", loop.health)
    health.add_check("registry", lambda: Check(trouble[0] is None, trouble[0] or "answers"))
    health.start()

    def ask_to_stop(number: int, _frame: FrameType | None) -> None:
        log.info("stopping", signal=signal.Signals(number).name)
        stop.set()
        loop.stop()

    signal.signal(signal.SIGTERM, ask_to_stop)
    signal.signal(signal.SIGINT, ask_to_stop)
    try:
        codec.prepare(*topics)
        loop.run()
    except Fenced as cause:
        log.error("fenced", error=cause)
        return EXIT_FENCED
    except SettingsError as cause:
        log.error("settings_wrong", error=cause)
        return EXIT_SETTINGS
    except DBError as cause:
        if stop.is_set() and cause.code == "db.registry_unavailable":
            return 0
        log.error("state_unusable", error=cause)
        return EXIT_STATE
    finally:
        health.stop()
    return 0
