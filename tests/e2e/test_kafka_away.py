"""Kafka or the registry is away for seconds, under load in both directions: nothing lost, nothing doubled, nobody dies.

A stack of its own, because what is stopped here everybody needs. The long outages are in tests/long.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import httpx
import pytest

from compose.stack import status
from core.settings import PREFIX
from tests.support.away import Traffic, Watch, health, paused, wait_healthy
from tests.support.stack import LiveStack, Paired, running_stack
from tests.support.waiting import wait_until

pytestmark = pytest.mark.timeout(300)
OURS = ("registrar", "limiter", "connector-1")
AWAY_S = 5.0
# Well above what the machine's load makes of a second or two.
BACK_S = 90.0


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveStack]:
    env = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    with running_stack(tmp_path_factory.mktemp("away"), env) as live:
        yield live


@pytest.fixture(scope="module")
def people(own: LiveStack) -> tuple[Paired, str]:
    return own.add_instances(3), own.add_contact()


@pytest.fixture
def traffic(own: LiveStack, people: tuple[Paired, str], request: pytest.FixtureRequest) -> Iterator[Traffic]:
    """Load that flows."""
    paired, contact = people
    with Traffic(own, paired, contact, request.node.name.removeprefix("test_")) as running:
        running.wait_flowing()
        yield running


def deaths(own: LiveStack) -> dict[str, int]:
    return {name: own.embedded.state.component(name).restarts for name in OURS}


def dead_letters(own: LiveStack) -> int:
    return sum(1 for _ in own.dump.records("deadletter"))


def test_kafka_stands_still_for_five_seconds(own: LiveStack, people: tuple[Paired, str], traffic: Traffic) -> None:
    before = deaths(own)
    with Watch(own, people[0]) as watch, paused(own, "kafka"):
        until = time.monotonic() + AWAY_S
        report = status.collect(own.embedded.files, own.settings)
        kafka = next(part for part in report["components"] if part["name"] == "kafka")
        assert not kafka["healthy"]
        assert kafka["health"]["error"], "wharf status says what is wrong"
        wait_until(lambda: time.monotonic() >= until, AWAY_S + 1, "the outage is over")
    wait_healthy(own, OURS, BACK_S)
    traffic.settle(BACK_S)
    assert traffic.failed == {}
    assert not any(watch.seen.went.values()), "no session leaves in so short a time"
    assert deaths(own) == before


def test_kafka_is_killed_and_started_again(own: LiveStack, traffic: Traffic) -> None:
    before = deaths(own)
    own.kill_and_wait("kafka", BACK_S)
    wait_healthy(own, OURS, BACK_S)
    traffic.settle(BACK_S)
    assert deaths(own) == before, "Kafka's death is nobody else's"


def test_without_the_registry_all_goes_on_but_a_new_process_waits_and_says_so(
    own: LiveStack, people: tuple[Paired, str], traffic: Traffic
) -> None:
    paired = people[0]
    letters, before = dead_letters(own), deaths(own)
    with paused(own, "registry"):
        seen = own.observe(paired)
        wait_until(
            lambda: (
                len((now := own.observe(paired)).events_in) > len(seen.events_in) + 5
                and len(now.received) > len(seen.received) + 5
            ),
            BACK_S,
            "messages go on both ways: every process knows its schemas",
        )
        # Its predecessor knew them; the new one has to ask.
        own.kill("limiter")
        wait_until(lambda: _says(own, "limiter", "registry", own.settings.registry.url), BACK_S, "it waits and says so")
        own.kill("registry")
    own.wait_restarted("registry", 0, BACK_S)
    wait_healthy(own, (*OURS, "registry"), BACK_S)
    traffic.settle(BACK_S)
    assert deaths(own) == before | {"limiter": before["limiter"] + 1}, "nothing died of it"
    assert dead_letters(own) == letters, "nothing is buried because of it"


def _says(own: LiveStack, name: str, check: str, words: str) -> bool:
    try:
        code, body = health(own, name)
    except httpx.HTTPError:
        return False  # it starts
    return code == 503 and words in body["checks"][check]["detail"]
