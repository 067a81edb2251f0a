"""One paired instance of a connector stack under faults: what is asked of it, and what everybody is told."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.support.connector_stack import ConnectorStack, Record, running_connector_stack
from tests.support.kafka import RunningKafka
from tests.support.waiting import wait_until

CONTACT, OTHER = "4915300002", "4915300003"
# What takes a minute and more by default, in seconds.
QUICK = {
    "KEEPALIVE_MIN_MS": 400,
    "KEEPALIVE_MAX_MS": 600,
    "KEEPALIVE_ANSWER_MS": 400,
    "SILENCE_MS": 2500,
    "LOGIN_MS": 5000,
    "PAIR_WATCHDOG_MS": 1000,
    "RECONNECT_FIRST_MS": 200,
    "RECONNECT_MOST_MS": 1000,
    "FOLLOW_UP_MS": 3000,
}


@dataclass
class Subject:
    """An instance and its phone."""

    stack: ConnectorStack
    name: str
    phone: str

    def control(self, path: str, **body: Any) -> Any:
        return self.stack.simulator.call("POST", f"/v1/phones/{self.phone}/{path}", **body)

    def faults(self, **wanted: Any) -> None:
        self.control("faults", **wanted)

    def no_faults(self) -> None:
        self.stack.simulator.call("DELETE", f"/v1/phones/{self.phone}/faults")

    def fail(self, reason: int, **more: Any) -> None:
        """The next login meets this; the connection breaks, so that there is one."""
        self.control("fail", reason=reason, **more)
        self.control("kick", hard=True)

    # ------------------------------------------------------------------ what is told

    def metrics(self) -> str:
        return httpx.get(f"{self.stack.connector.url()}/metrics", timeout=5).text

    def told(self, kind: str) -> list[Record]:
        return [each for each in self.stack.events("events.session", self.name) if each["kind"] == kind]

    def wait_told(self, kind: str, count: int = 1, seconds: float = 30) -> Record:
        return wait_until(
            lambda: events if len(events := self.told(kind)) >= count else [],
            seconds,
            f"{kind} of {self.name}, log: {self.stack.connector.tail()}",
        )[-1]

    def limits(self) -> list[Record]:
        return self.stack.events("events.limit", self.name)

    def wait_shown(self, state: str, words: str = "", step: str = "", seconds: float = 30) -> Record:
        """The row of /healthz, which is the line of `wharf status`."""

        def reached() -> Record:
            row = self.stack.shown(self.name)
            right = (
                row.get("state") == state and words in (row["last_error"] or "") and step in (row["next_step"] or "")
            )
            return row if right else {}

        try:
            row = wait_until(reached, seconds, f"{self.name} is shown as {state}")
        except AssertionError as late:
            raise AssertionError(f"{late}: {self.stack.shown(self.name)}, log: {self.stack.connector.tail()}") from late
        assert row["since_ms"] > 0
        return row

    # ------------------------------------------------------------------ messages

    def arrived(self, message_id: str, kind: str = "message.new") -> list[Record]:
        return [
            each for each in self.stack.messages(self.name) if each["key"]["id"] == message_id and each["kind"] == kind
        ]

    def text(self, command_id: str, to: str = CONTACT, text: str = "hello", **fields: Any) -> None:
        self.stack.text(command_id, self.name, to, text, **fields)
        self.stack.streams.flush()

    def result(self, command_id: str, state: str) -> Record:
        return self.stack.streams.wait_result(command_id, state)

    def states(self, command_id: str) -> list[str]:
        return [each["state"] for each in self.stack.streams.results(command_id)]

    def message_id(self, command_id: str) -> str:
        return str(self.result(command_id, "sent")["message_id"])

    def hears(self, text: str = "are you there?") -> None:
        """A message of a contact comes in once: the session lives."""
        message_id = self.stack.simulator.say(CONTACT, self.phone, text)
        wait_until(lambda: self.arrived(message_id), 30, "the message is in the log")
        assert len(self.arrived(message_id)) == 1


@contextmanager
def faulty_stack(kafka: RunningKafka, prefix: str, folder: Path, **settings: str) -> Iterator[ConnectorStack]:
    """A running connector with short times, and two contacts."""
    with running_connector_stack(kafka, prefix, folder) as made:
        made.env |= {f"WHARF_CONNECTOR__SUPERVISION__{name}": str(value) for name, value in QUICK.items()} | settings
        made.start()
        made.simulator.contact(CONTACT)
        made.simulator.contact(OTHER)
        yield made


def subject(stack: ConnectorStack, name: str, phone: str) -> Subject:
    stack.pair(name, phone)
    return Subject(stack, name, phone)
