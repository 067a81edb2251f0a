"""Faults with the times and sizes of real operation: the default limits, a backlog of 20,000, many sessions at once."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator

import pytest

from core.settings import SupervisionSettings
from tests.support.connector_stack import ConnectorStack, running_connector_stack
from tests.support.faults import CONTACT, OTHER, Subject, subject
from tests.support.kafka import RunningKafka
from tests.support.waiting import wait_until

pytestmark = pytest.mark.timeout(1800)
BACKLOG, SESSIONS = 20_000, 60
LOOK_MS = 1_000


@pytest.fixture(scope="module")
def stack(kafka: RunningKafka, prefix: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ConnectorStack]:
    with running_connector_stack(kafka, prefix, tmp_path_factory.mktemp("long")) as made:
        made.start()
        made.simulator.contact(CONTACT)
        made.simulator.contact(OTHER)
        yield made


@pytest.fixture(scope="module")
def it(stack: ConnectorStack) -> Subject:
    return subject(stack, "long-1", "4915700001")


def test_a_half_open_network_is_noticed_within_the_stated_time(it: Subject) -> None:
    times = SupervisionSettings()
    online, offline = len(it.told("session.online")), len(it.told("session.offline"))
    it.control("kick", freeze=True)
    frozen = time.time() * 1000
    lost = it.wait_told("session.offline", offline + 1, seconds=120)
    assert lost["reason"] == "silence"
    assert lost["envelope"]["received_at"] - frozen < times.silence_ms + LOOK_MS + 1000
    it.wait_told("session.online", online + 1)
    it.hears()


def test_a_quiet_session_stays(it: Subject) -> None:
    """Five minutes without a message, pinged by the default times."""
    before = len(it.stack.events("events.session", it.name))
    time.sleep(300)
    assert len(it.stack.events("events.session", it.name)) == before
    it.hears()


def test_a_backlog_of_twenty_thousand(it: Subject) -> None:
    it.stack.connector.stop()
    ids = it.stack.simulator.http.post(
        f"/v1/contacts/{CONTACT}/flood",
        json={"to": it.phone, "count": BACKLOG, "prefix": "HUGE", "wait": True},
        timeout=600,
    ).json()["ids"]
    it.stack.start()
    wait_until(lambda: it.stack.in_counts(it.name).keys() >= set(ids), 300, "the backlog is in the log")
    late = [each["key"]["id"] for each in it.stack.messages(it.name) if each["key"]["id"].startswith("HUGE")]
    assert late == ids


def test_many_sessions_come_back_after_their_host_died(stack: ConnectorStack) -> None:
    many = [subject(stack, f"many-{number}", f"49157001{number:02}") for number in range(SESSIONS)]
    counts = [len(each.told("session.online")) for each in many]
    os.kill(stack.host_pid(), signal.SIGKILL)
    began = time.monotonic()
    for each, count in zip(many, counts, strict=True):
        each.wait_told("session.online", count + 1, seconds=120)
    assert time.monotonic() - began < 60
    for each in many:
        each.hears()
