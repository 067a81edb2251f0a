"""The real parts, once per test session. Tests that ask for none of them start nothing."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import pytest

from tests.support.kafka import RunningKafka, running_kafka


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningKafka]:
    """A real Kafka; `.bootstrap`, and `.settings(prefix=…)` for a process that uses it."""
    with running_kafka(tmp_path_factory.mktemp("kafka")) as running:
        yield running


@pytest.fixture(scope="module")
def prefix(request: pytest.FixtureRequest) -> str:
    """A topic prefix of this test module alone."""
    module = request.module.__name__.rpartition(".")[2]
    return f"{module}-{secrets.token_hex(4)}."
