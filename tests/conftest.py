"""The real parts, once per test session. Tests that ask for none of them start nothing."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator

import pytest
import structlog

from core.settings import PREFIX
from tests.support.clickhouse import RunningClickHouse, running_clickhouse
from tests.support.kafka import RunningKafka, running_kafka
from tests.support.stack import LiveStack, running_stack


def pytest_runtest_setup() -> None:
    """Plain tracebacks: structlog's own default draws all local variables of every frame, a sixth of a second each."""
    structlog.configure(processors=[structlog.processors.format_exc_info, structlog.processors.KeyValueRenderer()])


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningKafka]:
    """A real Kafka; `.bootstrap`, and `.settings(prefix=…)` for a process that uses it."""
    with running_kafka(tmp_path_factory.mktemp("kafka")) as running:
        yield running


@pytest.fixture(scope="session")
def clickhouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningClickHouse]:
    """The embedded ClickHouse; users make a database of their own."""
    with running_clickhouse(tmp_path_factory.mktemp("clickhouse")) as running:
        yield running


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveStack]:
    """The whole system with the simulated WhatsApp."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    with running_stack(tmp_path_factory.mktemp("stack"), env) as live:
        yield live


@pytest.fixture(scope="module")
def prefix(request: pytest.FixtureRequest) -> str:
    """A topic prefix of this test module alone."""
    module = request.module.__name__.rpartition(".")[2]
    return f"{module}-{secrets.token_hex(4)}."
