"""The frame of a process: settings, logs, metrics, health, signals, and what its end tells whoever started it.

Exit codes: 0 asked to stop; 2 settings or topics are wrong; 3 state, position or Kafka cannot be used now; 4 another process
took the slot (start again: it is then the newer one).
"""

from __future__ import annotations

import logging
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType

from confluent_kafka import KafkaException

from core.errors import DBError, Fenced, SettingsError
from core.settings import Settings, TelemetrySettings, load_settings
from core.telemetry.health import Check, HealthServer
from core.telemetry.logs import configure_logging, get_logger
from core.telemetry.metrics import BUILD_INFO, Metrics

EXIT_SETTINGS, EXIT_STATE, EXIT_FENCED = 2, 3, 4


def with_settings(component: str, main: Callable[[Settings], int]) -> int:
    """`main` with the settings of the environment; a SettingsError is one line and an exit code."""
    try:
        return main(load_settings())
    except SettingsError as wrong:
        sys.stderr.write(f"{component}: {wrong.message}\n")
        return EXIT_SETTINGS


class Process:
    """Made once, in the main thread; logs are configured from then on."""

    def __init__(self, component: str, slot: str, telemetry: TelemetrySettings) -> None:
        configure_logging(level=telemetry.log_level, log_format=telemetry.log_format, component=component, slot=slot)
        # One line per registry request tells nothing that its failures do not.
        logging.getLogger("httpx").setLevel(logging.WARNING)
        self.metrics = Metrics()
        self.metrics.gauge(BUILD_INFO).labels(component, slot).set(1)
        self.stopping = threading.Event()
        self._registry_trouble: str | None = None
        self._log = get_logger(__name__)

    def registry_state(self, trouble: str | None) -> None:
        """What the codec says of the registry: its trouble, None when it answers again."""
        self._registry_trouble = trouble

    def run(self, health: HealthServer, work: Callable[[], None], stop: Callable[[], None]) -> int:
        """`work` until it returns; `stop` is called by SIGTERM and SIGINT and makes it return. Gives the exit code."""
        health.add_check("registry", lambda: Check(self._registry_trouble is None, self._registry_trouble or "answers"))
        health.start()

        def ask_to_stop(number: int, _frame: FrameType | None) -> None:
            self._log.info("stopping", signal=signal.Signals(number).name)
            self.stopping.set()
            stop()

        signal.signal(signal.SIGTERM, ask_to_stop)
        signal.signal(signal.SIGINT, ask_to_stop)
        try:
            work()
        except Fenced as fenced:
            self._log.error("fenced", error=fenced)
            return EXIT_FENCED
        except SettingsError as wrong:
            self._log.error("settings_wrong", error=wrong)
            return EXIT_SETTINGS
        except KafkaException as cause:
            self._log.error("kafka_failed", kafka_error=cause.args[0].name(), detail=cause.args[0].str())
            return EXIT_STATE
        except DBError as failure:
            if self.stopping.is_set() and failure.code == "db.registry_unavailable":
                return 0
            self._log.critical("cannot_go_on", error=failure, next_step=failure.next_step)
            return EXIT_STATE
        finally:
            health.stop()
        return 0
