"""Simulated phones: creates instances marked `simulated` and scans the QR codes they show, as their owners would.

    python -m compose.demo.phones --instances N

A component of `wharf up --simulate N`. Nothing in the connector pairs by itself: this program sends the `pair` command,
reads `wa.pairing` and tells the simulator that the instance's phone has scanned the code.
"""

from __future__ import annotations

import argparse
import signal
import sys
import threading
import time
from collections.abc import Mapping

from compose.demo.simulator import Simulator, SimulatorError
from compose.demo.system import Seen, System
from core.errors import SettingsError
from core.settings import Settings, load_settings
from core.telemetry.health import Check, HealthServer
from core.telemetry.logs import configure_logging, get_logger
from core.telemetry.metrics import Metrics

NAME = "phones"
FIRST_PHONE = 491520000001
POLL_SECONDS = 0.2
# A pair command that came to nothing (codes expired, the limiter did not know the instance yet) is sent again.
RETRY_SECONDS = 2.0


def instance_id(number: int) -> str:
    return f"sim-{number}"


def phone_of(instance: str) -> str:
    """The phone number of a simulated instance, by the number in its name."""
    return str(FIRST_PHONE + int(instance.rpartition("-")[2]) - 1)


class Phones:
    """One round is `step()`; `unpaired` says who is left."""

    def __init__(self, system: System, simulator: Simulator, phones: Mapping[str, str]) -> None:
        """`phones`: instance id → number of the phone that it is to be paired with."""
        self._system = system
        self._simulator = simulator
        self._follower = system.follow("audit", "pairing", "results", "events.session")
        self._log = get_logger(NAME)
        self._phones = phones
        self.unpaired = frozenset(phones)  # replaced, not changed: the health server's thread reads it
        self._creating: dict[str, str] = {}
        self._pairing: dict[str, str] = {}
        self._retry_at: dict[str, float] = {}
        for instance in phones:
            self._creating[system.request("instance_create", instance, simulated=True, desired="online")] = instance

    def step(self) -> None:
        for seen in self._follower.poll(POLL_SECONDS):
            self._take(seen)
        for instance, at in list(self._retry_at.items()):
            if at <= time.monotonic():
                del self._retry_at[instance]
                self._pairing[self._system.command(instance, "pair", pairing={"method": "qr"})] = instance

    def _take(self, seen: Seen) -> None:
        record = seen.record
        if seen.topic == "audit" and (instance := self._creating.pop(record["request_id"], None)):
            # Rejected means that it is there already, from an earlier start of this stack.
            self._log.info("instance", instance=instance, outcome=record["outcome"], error=record["error"])
            self._retry_at[instance] = time.monotonic()
        elif seen.topic == "pairing" and record["envelope"]["simulated"] and record["qr"]:
            self._scan(record["envelope"]["instance_id"], record["qr"])
        elif seen.topic == "results" and record["final"] and record["command_id"] in self._pairing:
            self._finished(self._pairing.pop(record["command_id"]), record)

    def _scan(self, instance: str, qr: str) -> None:
        if instance not in self.unpaired:
            return
        try:
            jid = self._simulator.scan(self._phones[instance], qr)
            self._log.info("scanned", instance=instance, jid=jid)
        except SimulatorError as error:
            self._log.warning("scan_refused", instance=instance, error=error)

    def _finished(self, instance: str, result: dict[str, object]) -> None:
        error = result["error"]
        paired_already = isinstance(error, dict) and error["code"] == "api.conflict"
        if result["state"] == "done" or paired_already:
            self.unpaired -= {instance}
            self._log.info("paired", instance=instance, already=paired_already)
        else:
            self._log.info("pair_again", instance=instance, state=result["state"], error=error)
            self._retry_at[instance] = time.monotonic() + RETRY_SECONDS

    def close(self) -> None:
        self._follower.__exit__(None, None, None)


def run(settings: Settings, count: int, stop: threading.Event) -> None:
    if not settings.simulator.enabled:
        raise SettingsError("config.invalid", "simulated phones need simulator.enabled = true")
    configure_logging(level=settings.telemetry.log_level, log_format=settings.telemetry.log_format, component=NAME)
    health = HealthServer(NAME, Metrics(), host=settings.telemetry.host, port=settings.telemetry.port)
    with Simulator(settings.simulator.control_url) as simulator:
        instances = [instance_id(number) for number in range(1, count + 1)]
        phones = Phones(System(settings, NAME), simulator, {instance: phone_of(instance) for instance in instances})
        health.add_check("paired", lambda: Check(not phones.unpaired, f"unpaired: {sorted(phones.unpaired)}"))
        health.start()
        try:
            while not stop.is_set():
                phones.step()
        finally:
            phones.close()
            health.stop()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m compose.demo.phones", description=__doc__)
    parser.add_argument("--instances", type=int, required=True)
    count = parser.parse_args().instances
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        run(load_settings(), count, stop)
    except SettingsError as error:
        sys.exit(f"{error.code}: {error.message}")


if __name__ == "__main__":
    main()
