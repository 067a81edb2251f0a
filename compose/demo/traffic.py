"""What happens in the demo: contacts ask, a program answers by commands, both are measured from end to end."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from compose.demo.meter import Meter
from compose.demo.phones import phone_of
from compose.demo.simulator import Simulator, SimulatorError
from compose.demo.system import Seen, System
from core.oracle import Key

CONTACTS_PER_INSTANCE = 2
FIRST_CONTACT = 491700000001
# How a contact that answers by itself begins its answers: the program must not answer those, or they never end.
ECHO = "echo: "
POLL_SECONDS = 0.1
SHOWN = 8


@dataclass(frozen=True, slots=True)
class Contact:
    phone: str
    instance: str
    auto_reply: bool


@dataclass(slots=True)
class Figures:
    """What is shown; written by the traffic's threads, read by the view's."""

    inward: Meter = field(default_factory=Meter)
    outward: Meter = field(default_factory=Meter)
    last: deque[str] = field(default_factory=lambda: deque(maxlen=SHOWN))
    asked: int = 0
    refused: int = 0
    error: str = ""


def contacts_of(instances: Sequence[str]) -> list[Contact]:
    """Two per instance, one of which also answers by itself."""
    return [
        Contact(str(FIRST_CONTACT + at * CONTACTS_PER_INSTANCE + n), instance, auto_reply=n == 0)
        for at, instance in enumerate(instances)
        for n in range(CONTACTS_PER_INSTANCE)
    ]


class Traffic:
    """`start()` makes one thread per contact and one that answers; `stop()` ends them."""

    def __init__(self, system: System, simulator: Simulator, instances: Sequence[str]) -> None:
        self._system = system
        self._simulator = simulator
        self._follower = system.follow("events.message", "results")
        self._contacts = contacts_of(instances)
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        self._asked_at: dict[str, float] = {}
        self._answered_at: dict[str, float] = {}
        self.figures = Figures()
        self.commands: list[Key] = []

    def start(self, *, questions: int | None, pause: float) -> None:
        """Each contact asks so many questions, or without end, with a pause between them."""
        for contact in self._contacts:
            self._simulator.add_contact(contact.phone, auto_reply=contact.auto_reply)
        self._run("answers", self._answer)
        for contact in self._contacts:
            self._run(contact.phone, lambda contact=contact: self._ask(contact, questions, pause))

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
        self._follower.__exit__(None, None, None)

    @property
    def asking(self) -> bool:
        """Whether contacts have questions left."""
        return any(thread.is_alive() for thread in self._threads[1:])

    def _run(self, name: str, work: object) -> None:
        def guarded() -> None:
            try:
                work()  # type: ignore[operator]
            except Exception as error:
                self.figures.error = f"{name}: {error}"
                raise

        thread = threading.Thread(target=guarded, name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _ask(self, contact: Contact, questions: int | None, pause: float) -> None:
        n = 0
        while not self._stop.is_set() and (questions is None or n < questions):
            n += 1
            message_id = f"{contact.phone}-{n:06d}"
            self._asked_at[message_id] = time.monotonic()
            try:
                self._simulator.send(contact.phone, phone_of(contact.instance), f"Question {n}?", id=message_id)
                self.figures.asked += 1
            except SimulatorError as error:
                # Whether it was accepted all the same the ledger tells.
                self.figures.refused += 1
                self.figures.last.append(f"{contact.phone}: {error}")
            self._stop.wait(pause)

    def _answer(self) -> None:
        while not self._stop.is_set():
            for seen in self._follower.poll(POLL_SECONDS):
                if seen.topic == "results":
                    self._take_result(seen)
                elif seen.record["direction"] == "in":
                    self._take_message(seen)
            self._system.flush()

    def _take_message(self, seen: Seen) -> None:
        event = seen.record
        instance, key, text = event["envelope"]["instance_id"], event["key"], event["content"]["text"] or ""
        asked = self._asked_at.pop(key["id"], None)
        self.figures.inward.add(seen.at, None if asked is None else seen.at - asked)
        self.figures.last.append(f"{instance} ← {key['chat']}: {text}")
        if text.endswith("?") and not text.startswith(ECHO):
            # The id follows from the event, so that answering it again would be the same command.
            command_id = f"answer-{event['envelope']['event_id']}"
            self._answered_at[command_id] = time.monotonic()
            self.commands.append((instance, command_id))
            self._system.send_text(instance, key["chat"], f"You asked: {text}", command_id)

    def _take_result(self, seen: Seen) -> None:
        result = seen.record
        if result["final"] and (began := self._answered_at.pop(result["command_id"], None)) is not None:
            self.figures.outward.add(seen.at, seen.at - began)
            self.figures.last.append(f"{result['instance_id']} → {result['chat']}: {result['state']}")
