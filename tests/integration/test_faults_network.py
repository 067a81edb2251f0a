"""The network between host and WhatsApp: lost, half-open, slow, through a proxy; the host's own end; a login that is missing."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator

import pytest

from tests.support.connector_stack import ConnectorStack
from tests.support.faults import CONTACT, QUICK, Subject, faulty_stack, subject
from tests.support.kafka import RunningKafka
from tests.support.socks import socks_proxy
from tests.support.waiting import wait_until

pytestmark = pytest.mark.timeout(180)
AT_ONCE = 2


@pytest.fixture(scope="module")
def stack(kafka: RunningKafka, prefix: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ConnectorStack]:
    starts = {"WHARF_CONNECTOR__SUPERVISION__PARALLEL_STARTS": str(AT_ONCE)}
    with faulty_stack(kafka, prefix, tmp_path_factory.mktemp("network"), **starts) as made:
        yield made


@pytest.fixture(scope="module")
def paired(stack: ConnectorStack) -> Subject:
    return subject(stack, "net-1", "4915500001")


@pytest.fixture
def it(paired: Subject) -> Iterator[Subject]:
    yield paired
    paired.no_faults()


def test_a_lost_socket_is_opened_again(it: Subject) -> None:
    online, offline = len(it.told("session.online")), len(it.told("session.offline"))
    it.control("kick", hard=True)
    it.wait_told("session.offline", offline + 1)
    it.wait_told("session.online", online + 1)
    it.hears()
    it.wait_shown("online")


def test_a_half_open_network_is_noticed_in_time(it: Subject) -> None:
    """Within the silence allowed and the second between two looks; what was written into the void goes out once."""
    online, offline = len(it.told("session.online")), len(it.told("session.offline"))
    it.control("kick", freeze=True)
    frozen = time.time() * 1000
    it.text("void-1", text="is anybody there?")
    it.result("void-1", "sending")
    lost = it.wait_told("session.offline", offline + 1)
    assert lost["reason"] == "silence"
    # The tail is what a loaded machine takes.
    assert lost["envelope"]["received_at"] - frozen < QUICK["SILENCE_MS"] + 1000 + 3000
    it.wait_told("session.online", online + 1)
    it.hears()
    message_id = it.message_id("void-1")
    wait_until(lambda: it.stack.ledger_counts()[message_id] == 1, 30, "it arrived")


def test_a_slow_network_is_not_dead(it: Subject) -> None:
    """Answers come later than a keepalive waits for them, but they come."""
    offline = len(it.told("session.offline"))
    it.faults(delay_ms=1000)
    sent = it.stack.simulator.flood(CONTACT, it.phone, 20, "SLOW", rate_per_s=10)
    it.text("slow-1")
    it.result("slow-1", "sent")
    wait_until(lambda: all(it.arrived(each) for each in sent), 30, "all are in the log")
    order = [each["key"]["id"] for each in it.stack.messages(it.name) if each["key"]["id"] in set(sent)]
    assert order == sent
    assert len(it.told("session.offline")) == offline


def test_pairing_without_a_restart_is_followed_by_a_login(stack: ConnectorStack) -> None:
    phone = "4915500002"
    stack.simulator.call("POST", "/v1/phones", phone=phone)
    stack.simulator.call("POST", f"/v1/phones/{phone}/faults", no_restart=True)
    it = subject(stack, "net-2", phone)
    it.hears()


def test_a_session_uses_its_proxy_and_nothing_else(stack: ConnectorStack) -> None:
    with socks_proxy() as proxy:
        stack.instance("net-3", proxy=proxy.url)
        it = _paired_as_it_is(stack, "net-3", "4915500003")
        it.hears()
        assert proxy.connections >= 2  # the pairing and the login
        before = proxy.connections
        proxy.refuse = True
        proxy.cut()
        it.wait_shown("offline", "proxy", "check the instance's proxy")
        assert proxy.connections == before
        proxy.refuse = False
        it.wait_shown("online")
        it.hears()
        assert proxy.connections == before + 1


def test_a_dead_host_takes_nothing_else_along_and_heals(stack: ConnectorStack, it: Subject) -> None:
    """The connector goes on, takes commands meanwhile, and opens all sessions again, a few at a time."""
    others = [subject(stack, f"net-{number}", f"49155000{number}") for number in range(10, 15)]
    everybody = [it, *others]
    counts = [len(each.told("session.online")) for each in everybody]
    pid = stack.host_pid()
    os.kill(pid, signal.SIGKILL)
    killed = int(time.time() * 1000)
    it.text("orphan-1")
    for each, count in zip(everybody, counts, strict=True):
        each.wait_told("session.online", count + 1)
        each.hears()
    it.result("orphan-1", "sent")
    assert stack.host_pid() != pid
    assert stack.connector.alive
    spans = [span for each in everybody for span in _logins(each, killed)]
    assert len(spans) == len(everybody)
    assert max(sum(begin < other[1] and other[0] <= begin for other in spans) for begin, _ in spans) <= AT_ONCE


def _logins(it: Subject, since_ms: int) -> list[tuple[int, int]]:
    """When its logins began and ended."""
    spans, begun = [], 0
    for each in it.stack.events("events.session", it.name):
        at = each["envelope"]["received_at"]
        if at >= since_ms and each["state"] == "connecting":
            begun = at
        elif at >= since_ms and each["state"] == "online" and begun:
            spans.append((begun, at))
    return spans


def _paired_as_it_is(stack: ConnectorStack, name: str, phone: str) -> Subject:
    """As `stack.pair`, without writing the instance anew."""
    stack.command("pair", f"pair-{name}", name)
    stack.streams.flush()
    codes = wait_until(
        lambda: [each["qr"] for each in stack.events("pairing", name) if each["qr"]], 30, f"a QR code of {name}"
    )
    stack.simulator.call("POST", f"/v1/phones/{phone}/scan", qr=codes[-1])
    stack.wait_state(name, "online")
    return Subject(stack, name, phone)


def test_every_final_is_the_only_one(stack: ConnectorStack) -> None:
    assert {name: told for name, told in stack.finals().items() if len(told) != 1} == {}
