"""Runs one stream processor as a process: the registry's codec and the transactional loop in the common frame."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TypeAlias

from core.faults import clock_from, faults_from
from core.kafka.codec import Codec
from core.kafka.loop import TransactionLoop
from core.kafka.processor import Processor
from core.process import Process, with_settings
from core.settings import ProcessorSettings, Settings
from core.telemetry.health import HealthServer
from core.telemetry.metrics import Metrics
from schemas.codec import open_codec

Build: TypeAlias = Callable[[Settings, Codec, Metrics], Processor]


def main(component: str, topics: tuple[str, ...], build: Build) -> int:
    """`topics` are those whose schemas must be registered; `component` is also the name of the settings' section."""
    return with_settings(component, lambda settings: _run(component, settings, topics, build))


def _run(component: str, settings: Settings, topics: tuple[str, ...], build: Build) -> int:
    own: ProcessorSettings = getattr(settings, component)
    process = Process(component, own.slot, settings.telemetry)
    codec = open_codec(settings, stop=process.stopping, on_state=process.registry_state)
    loop = TransactionLoop(
        build(settings, codec, process.metrics),
        settings,
        slot=own.slot,
        session_timeout_ms=own.session_timeout_ms,
        clock=clock_from(os.environ),
        metrics=process.metrics,
        faults=faults_from(os.environ),
    )
    health = HealthServer(component, process.metrics, host=settings.telemetry.host, port=settings.telemetry.port)
    health.add_check("kafka", loop.health)

    def work() -> None:
        codec.prepare(*topics)
        loop.run()

    return process.run(health, work, loop.stop)
