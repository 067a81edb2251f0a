"""The driver around its host process: frames, order, the death of the host, and that nothing outlives this process."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import given

from connectors.driver import Closed, Delivery, Entry, Lost, SessionStart
from connectors.drivers.whatsmeow import host_pb2 as pb
from connectors.drivers.whatsmeow.driver import RESTORE_FRAME_BYTES, HostOptions, WhatsmeowDriver
from connectors.drivers.whatsmeow.framing import FrameError, FrameReader, frame
from core.clock import SystemClock
from core.settings import SimulatorSettings
from core.telemetry.metrics import Metrics

DEADLINE_S = 15.0


@given(st.lists(st.binary(max_size=200), max_size=8), st.integers(1, 50))
def test_frames_come_back_however_they_are_cut(bodies: list[bytes], cut: int) -> None:
    stream = b"".join(frame(body) for body in bodies)
    reader = FrameReader()
    found = [body for at in range(0, len(stream), cut) for body in reader.feed(stream[at : at + cut])]
    assert found == bodies


def test_an_impossible_length_ends_it() -> None:
    with pytest.raises(FrameError):
        list(FrameReader().feed(b"\xff\xff\xff\xff"))


class Watched:
    def __init__(self) -> None:
        script = Path(__file__).with_name("scripted_host.py")
        self.changed = threading.Condition()
        self.seen: list[Delivery] = []
        self.driver = WhatsmeowDriver(
            HostOptions(Path(sys.executable), arguments=(str(script),)), SimulatorSettings(), SystemClock(), Metrics()
        )
        self.driver.on_delivery(self._wake)

    def _wake(self) -> None:
        with self.changed:
            self.changed.notify_all()

    def until(self, true: Callable[[], bool]) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: self._taken() or true(), DEADLINE_S)

    def _taken(self) -> bool:
        self.seen += self.driver.take()
        return False

    def entries(self) -> list[pb.JournalEntry]:
        return [each.entry for each in self.seen if isinstance(each, Entry)]

    def ready(self) -> None:
        self.until(lambda: self.driver.available(False))

    def open(self, session: int, items: dict[str, bytes] | None = None) -> None:
        start = SessionStart(session, "sales-1", False, pb.SessionSettings(), (items or {}).items())
        self.driver.open(start)


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Iterator[Watched]:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[3]))
    watched = Watched()
    watched.ready()
    yield watched
    watched.driver.stop()


def test_a_session_is_restored_and_entries_come_in_order(host: Watched) -> None:
    host.open(1, {f"item-{n:03}": b"x" * (RESTORE_FRAME_BYTES // 4) for n in range(9)})
    for n in range(50):
        host.driver.send(pb.Send(session=1, command_id=f"c{n}"))
    host.until(lambda: len(host.entries()) == 51)
    assert [entry.position for entry in host.entries()] == list(range(1, 52))
    assert "item-008" in host.entries()[0].events[0].other.json
    host.driver.close(1, "test")
    host.until(lambda: Closed(1, "requested", True) in host.seen)


@pytest.mark.parametrize("how", ["die", "babble", "babble and stay", "no message"])
def test_a_host_that_ends_takes_its_sessions_and_starts_again(host: Watched, how: str) -> None:
    host.open(1)
    host.open(2)
    host.driver.send(pb.Send(session=1, command_id=how))
    host.until(lambda: any(isinstance(each, Lost) for each in host.seen))
    (lost,) = [each for each in host.seen if isinstance(each, Lost)]
    assert lost.sessions == {1, 2}
    host.ready()
    host.open(3)
    host.until(lambda: host.entries()[-1:] != [] and host.entries()[-1].session == 3)


def test_every_host_knows_the_newest_lease(host: Watched) -> None:
    def leases() -> list[str]:
        return [entry.events[0].other.json for entry in host.entries() if entry.session == 0]

    host.driver.lease(100.0)
    # Many a second would only be noise.
    host.driver.lease(100.05)
    host.driver.lease(101.0)
    host.until(lambda: leases() == ["100000", "101000"])
    host.open(1)
    host.driver.send(pb.Send(session=1, command_id="die"))
    host.until(lambda: leases() == ["100000", "101000", "101000"] if host.driver.available(False) else False)


def test_the_host_ends_with_its_connector(host: Watched) -> None:
    pid = int(host.driver.health().detail.split("pid ")[1].split(",")[0])
    host.driver.stop()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_nothing_is_started_for_simulated_sessions_without_the_setting(host: Watched) -> None:
    assert host.driver.available(True) is False
    assert "simulated" not in host.driver.health().detail
