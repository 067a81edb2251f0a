"""The embedded registry as a process: `python -m schemas.registry` listens where `registry.url` points (loopback)."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from urllib.parse import urlsplit

import uvicorn

from core.errors import SettingsError, WharfError
from core.kafka.clients import KafkaClients
from core.settings import Settings, load_settings
from core.telemetry.health import Check, HealthServer
from core.telemetry.logs import configure_logging, get_logger
from core.telemetry.metrics import BUILD_INFO, Metrics
from schemas.registry.api import application
from schemas.registry.log import TOPIC, SchemaLog
from schemas.registry.service import Service
from schemas.registry.state import State

COMPONENT = "registry"
LOOPBACK = ("127.0.0.1", "::1", "localhost")
STOP_S = 3


def listen_address(settings: Settings) -> tuple[str, int]:
    """Host and port of registry.url."""
    if settings.registry.external:
        raise SettingsError("config.invalid", "registry.external is true: the embedded registry is not started")
    url = urlsplit(settings.registry.url)
    if url.hostname not in LOOPBACK or url.scheme != "http" or url.path.strip("/"):
        raise SettingsError(
            "config.invalid",
            f"registry.url is {settings.registry.url}: the embedded registry listens on loopback, as in "
            "http://127.0.0.1:8081; set registry.external=true if it is another's",
        )
    return url.hostname or LOOPBACK[0], url.port or 80


def run(settings: Settings, topic: str) -> int:
    """Serve until SIGTERM or SIGINT."""
    host, port = listen_address(settings)
    configure_logging(level=settings.telemetry.log_level, log_format=settings.telemetry.log_format, component=COMPONENT)
    log = get_logger(__name__)
    metrics = Metrics()
    metrics.gauge(BUILD_INFO).labels(component=COMPONENT, slot="").set(1)
    telemetry = HealthServer(COMPONENT, metrics, host=settings.telemetry.host, port=settings.telemetry.port)
    state, lock = State(), threading.RLock()
    failure: list[WharfError] = []

    def fatal(error: WharfError) -> None:
        failure.append(error)
        server.should_exit = True

    schema_log = SchemaLog(KafkaClients(settings.kafka, COMPONENT), state.apply, lock, topic=topic, on_fatal=fatal)
    telemetry.add_check("schemas", lambda: Check(schema_log.trouble is None, schema_log.trouble or ""))
    app = application(Service(state, schema_log, lock), telemetry.report)
    # log_config=None: uvicorn's lines come out in our form.
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            host=host,
            port=port,
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=STOP_S,
            lifespan="off",
        )
    )
    # uvicorn stops at these by itself and then raises them again, which must not cut the orderly end short.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    telemetry.start()
    schema_log.start()
    try:
        server.run()
    finally:
        schema_log.stop()
        telemetry.stop()
    if failure:
        log.error("registry_stopped", error=failure[0])
    return 1 if failure or not server.started else 0


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m schemas.registry", description=__doc__)
    parser.add_argument("--topic", default=TOPIC, help="topic that holds the schemas (default %(default)s)")
    arguments = parser.parse_args()
    try:
        sys.exit(run(load_settings(), arguments.topic))
    except WharfError as error:
        sys.exit(f"{error.code}: {error.message}")


if __name__ == "__main__":
    main()
