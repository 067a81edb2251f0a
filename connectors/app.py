"""The connector process: settings, keys, registry, driver, processor and loop put together, and its orderly end."""

from __future__ import annotations

import argparse
import os
import random
from collections.abc import Sequence

from connectors.drivers.whatsmeow.driver import HostOptions, WhatsmeowDriver
from connectors.faults import host_faults_from
from connectors.health import ConnectorHealth, Overview
from connectors.processor import ConnectorProcessor
from connectors.state_reader import StateReader
from core.clock import SystemClock
from core.errors import DBError
from core.faults import clock_from, faults_from
from core.kafka.clients import KafkaClients
from core.kafka.holdings import marked
from core.kafka.leaving import Processing, leave
from core.kafka.loop import TransactionLoop
from core.process import EXIT_STATE, Process, with_settings
from core.security.keyring import Keyring
from core.settings import Settings
from core.telemetry.health import Check
from core.telemetry.logs import configure_logging, get_logger
from schemas.codec import open_codec

COMPONENT = "connector"
_HOST_LOG = {"debug": "debug", "info": "info", "warning": "warn", "error": "error"}
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
    process = Process(COMPONENT, slot, telemetry)
    clock, metrics = clock_from(os.environ), process.metrics
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
    codec = open_codec(settings, stop=process.stopping, on_state=process.registry_state)
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
        lease=driver.lease,
    )
    driver.on_delivery(loop.wakeup)
    # The host that is most likely wanted starts while the group and the state are waited for.
    driver.available(settings.simulator.enabled)

    health = ConnectorHealth(COMPONENT, metrics, host=telemetry.host, port=telemetry.port)
    health.watch(overview, loop.roles)
    health.add_check("kafka", loop.health)
    health.add_check("host", lambda: Check(driver.health().healthy, driver.health().detail))
    if settings.simulator.enabled:
        get_logger(__name__).warning("simulator_enabled", control_url=settings.simulator.control_url, simulated=True)

    def work() -> None:
        reader.start()
        try:
            codec.prepare(*_TOPICS)
            loop.run()
        finally:
            driver.stop()
            reader.stop()

    return process.run(health, work, loop.stop)


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
    return with_settings(COMPONENT, give_up_slot if given.leave else run)
