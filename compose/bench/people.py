"""Many simulated people at once: phones that pair with instances of ours, and contacts that write to them."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor

from compose.bench.watch import BenchError, Tell
from compose.demo.simulator import Simulator
from compose.demo.system import Seen, System

FIRST_PHONE = 491540000000
FIRST_CONTACT = 491720000000
# Instances being paired at a time: a QR code lives 20 s, and each pairing takes the simulator and the host 0.1 s.
WINDOW = 24
SILENCE_S = 60.0
_POLL_S = 0.1
_TELL_S = 2.0
_OFF = {"mode": "off", "overrides": {}}


def instance_of(number: int) -> str:
    return f"bench-{number}"


def phone_of(number: int) -> str:
    return str(FIRST_PHONE + number)


def contact_of(number: int) -> str:
    return str(FIRST_CONTACT + number)


class Pairing:
    """Creates instances without limits and pairs them until all were online."""

    def __init__(self, system: System, simulator: Simulator, numbers: Iterable[int]) -> None:
        self._system = system
        self._simulator = simulator
        self._left = deque(numbers)
        self._phones: dict[str, str] = {}
        self._open: dict[str, str] = {}
        self._scanning: dict[str, Future[str]] = {}

    def run(self, tell: Tell) -> None:
        total, online = len(self._left), 0
        last = told = time.monotonic()
        with (
            ThreadPoolExecutor(WINDOW) as pool,
            self._system.follow("pairing", "results", "events.session") as follower,
        ):
            while self._left or self._open:
                while self._left and len(self._open) < WINDOW:
                    self._begin(self._left.popleft())
                for seen in follower.poll(_POLL_S):
                    if self._take(seen, pool):
                        online, last = online + 1, time.monotonic()
                now = time.monotonic()
                if now - told > _TELL_S:
                    told = now
                    tell(f"paired and online {online}/{total}")
                if now - last > SILENCE_S:
                    raise BenchError(f"no instance was paired for {SILENCE_S:.0f} s; left: {sorted(self._open)}")

    def _begin(self, number: int) -> None:
        instance = instance_of(number)
        self._phones[instance] = phone_of(number)
        self._system.request("instance_create", instance, simulated=True, desired="online", limits=_OFF)
        self._pair(instance)

    def _pair(self, instance: str) -> None:
        self._open[instance] = self._system.command(instance, "pair", pairing={"method": "qr"})

    def _take(self, seen: Seen, pool: ThreadPoolExecutor) -> bool:
        """True when one more is online."""
        record = seen.record
        if seen.topic == "results":
            instance = record["instance_id"]
            if record["final"] and record["state"] != "done" and self._open.get(instance) == record["command_id"]:
                self._pair(instance)
            return False
        instance = record["envelope"]["instance_id"]
        if instance not in self._open:
            return False
        if seen.topic == "pairing":
            scan = self._scanning.get(instance)
            if record["qr"] and (scan is None or (scan.done() and scan.exception() is not None)):
                self._scanning[instance] = pool.submit(self._simulator.scan, self._phones[instance], record["qr"])
            return False
        if record["state"] != "online":
            return False
        del self._open[instance]
        return True


def add_contacts(simulator: Simulator, numbers: Iterable[int], tell: Tell) -> None:
    phones = [contact_of(number) for number in numbers]
    with ThreadPoolExecutor(8) as pool:
        for done, _ in enumerate(pool.map(simulator.add_contact, phones), 1):
            if done % 50 == 0:
                tell(f"contacts {done}/{len(phones)}")
