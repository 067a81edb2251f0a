"""The connector process: settings, keys, registry, driver, processor and loop put together, and its orderly end."""

from __future__ import annotations

import argparse
import logging
import os
import random
import signal
import sys
import threading
from collections.abc import Sequence
from types import FrameType

from connectors.drivers.whatsmeow.driver import HostOptions, WhatsmeowDriver
from connectors.faults import host_faults_from
from connectors.health import ConnectorHealth, Overview
from connectors.processor import ConnectorProcessor
from connectors.state_reader import StateReader
from core.clock import SystemClock
from core.errors import DBError, Fenced, SettingsError
from core.faults import clock_from, faults_from
from core.kafka.clients import KafkaClients
from core.kafka.holdings import marked
from core.kafka.leaving import Processing, leave
from core.kafka.loop import TransactionLoop
from core.security.keyring import Keyring
from core.settings import Settings, load_settings
from core.telemetry.health import Check
from core.telemetry.logs import configure_logging, get_logger
from core.telemetry.metrics import BUILD_INFO, Metrics
from schemas.codec import open_codec

COMPONENT = "connector"
_HOST_LOG = {"debug": "debug", "info": "info", "warning": "warn", "error": "error"}
EXIT_SETTINGS, EXIT_STATE, EXIT_FENCED = 2, 3, 4
# What the connector writes and reads: their registration is checked at the start.
_TOPICS = (
    "commands",
    "commands.admitted",
    "instances",
    "results",
    "events.message",
    "events.status",
    "events.session",
    "events.chat",
    "events.contact",
    "events.limit",
    "pairing",
    "deadletter",
)


def run(settings: Settings) -> int:
    """Until SIGTERM or the end of ownership; gives the exit code."""
    slot = settings.connector.slot
    telemetry = settings.telemetry
    configure_logging(level=telemetry.log_level, log_format=telemetry.log_format, component=COMPONENT, slot=slot)
    # One line per registry request tells nothing that its failures do not.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    log = get_logger(__name__)
    clock, metrics, stop = clock_from(os.environ), Metrics(), threading.Event()
    metrics.gauge(BUILD_INFO).labels(COMPONENT, slot).set(1)
    trouble: list[str | None] = [None]
    faults, host_faults = faults_from(os.environ), host_faults_from(os.environ)

    keyring = Keyring.load(settings.keys_path, settings.keys.get_secret_value() if settings.keys else None)
    driver = WhatsmeowDriver(
        HostOptions(
            settings.connector.host_binary,
            arguments=("--log-level", _HOST_LOG[telemetry.log_level], *host_faults.arguments),
            crash_at=host_faults.crash_at,
            verbose=telemetry.log_level == "debug",
            supervision=settings.connector.supervision,
        ),
        settings.simulator,
        clock,
        metrics,
    )
    codec = open_codec(settings, stop=stop, on_state=lambda text: trouble.__setitem__(0, text))
    reader = StateReader(
        KafkaClients(settings.kafka, f"wharf-state-{slot}"), f"{settings.kafka.prefix}sessions", lambda: loop.wakeup()
    )
    overview = Overview(metrics, slot)
    processor = ConnectorProcessor(
        driver=driver,
        codec=codec,
        keyring=keyring,
        reader=reader,
        clock=clock,
        metrics=metrics,
        jitter=random.random,
        wakeup=lambda: loop.wakeup(),
        overview=overview,
        faults=faults,
        simulator_enabled=settings.simulator.enabled,
        follow_up_ms=settings.connector.supervision.follow_up_ms,
    )
    loop = TransactionLoop(
        processor,
        settings,
        slot=slot,
        session_timeout_ms=settings.connector.session_timeout_ms,
        clock=clock,
        metrics=metrics,
        faults=faults,
        standby=settings.connector.standby,
    )
    driver.on_delivery(loop.wakeup)
    # The host that is most likely wanted starts while the group and the state are waited for.
    driver.available(settings.simulator.enabled)

    health = ConnectorHealth(COMPONENT, metrics, host=telemetry.host, port=telemetry.port)
    health.watch(overview, loop.roles)
    health.add_check("kafka", loop.health)
    health.add_check("registry", lambda: Check(trouble[0] is None, trouble[0] or "answers"))
    health.add_check("host", lambda: Check(driver.health().healthy, driver.health().detail))
    health.start()

    def ask_to_stop(number: int, _frame: FrameType | None) -> None:
        log.info("stopping", signal=signal.Signals(number).name)
        stop.set()
        loop.stop()

    signal.signal(signal.SIGTERM, ask_to_stop)
    signal.signal(signal.SIGINT, ask_to_stop)
    if settings.simulator.enabled:
        log.warning("simulator_enabled", control_url=settings.simulator.control_url, simulated=True)
    reader.start()
    try:
        codec.prepare(*_TOPICS)
        loop.run()
    except Fenced as fenced:
        log.error("fenced", error=fenced)
        return EXIT_FENCED
    except SettingsError as wrong:
        log.error("settings_wrong", error=wrong)
        return EXIT_SETTINGS
    except DBError as failure:
        if stop.is_set() and failure.code == "db.registry_unavailable":
            return 0
        log.critical("cannot_go_on", error=failure, next_step=failure.next_step)
        return EXIT_STATE
    finally:
        driver.stop()
        reader.stop()
        health.stop()
    return 0


def give_up_slot(settings: Settings) -> int:
    """The slot's instances go to the other connectors at once; also for a slot whose process died long ago."""
    slot, telemetry = settings.connector.slot, settings.telemetry
    configure_logging(level=telemetry.log_level, log_format=telemetry.log_format, component=COMPONENT, slot=slot)
    of = ConnectorProcessor
    names = Processing(of.name, of.input_topic, of.side_topics, marked(of.state_topic))
    try:
        leave(names, settings.kafka, slot, clock=SystemClock())
    except DBError as failure:
        get_logger(__name__).error("cannot_leave", error=failure, next_step=failure.next_step)
        return EXIT_STATE
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m connectors", description="One connector process.")
    parser.add_argument(
        "--leave", action="store_true", help="give up this slot for good instead; stop its process first"
    )
    given = parser.parse_args(arguments)
    try:
        settings = load_settings()
        return give_up_slot(settings) if given.leave else run(settings)
    except SettingsError as wrong:
        sys.stderr.write(f"{COMPONENT}: {wrong.message}\n")
        return EXIT_SETTINGS
