"""What the committed log has told so far: what is final, who is online since when, who owned what. No I/O.

An instance is heard of by the events of its session only, which its connector writes: the limiter's results go on while a
connector is dead. It is fed by one thread and asked from any.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from core.histories import Claim, Position

# What the session topic tells beside states.
HAPPENINGS = ("degraded", "restored", "gap", "offline_sync", "unknown")


@dataclass(frozen=True, slots=True)
class Online:
    """A session came online: `at` is the record's own time in epoch seconds."""

    instance_id: str
    epoch: int
    at: float


@dataclass(frozen=True, slots=True)
class Owned:
    """A mark with its record's time."""

    claim: Claim
    at: float


class Seen:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._finals: set[str] = set()
        self._admitted: set[str] = set()
        self._messages: set[str] = set()
        self._answers: set[str] = set()
        self._online: dict[str, list[Online]] = defaultdict(list)
        self._states: dict[str, str] = {}
        self._last: dict[str, float] = {}
        self._owned: list[Owned] = []
        self._positions: list[Position] = []

    # --- what is asked -----------------------------------------------------------------------------------------------

    def is_final(self, command_id: str) -> bool:
        return command_id in self._finals

    def is_decided(self, command_id: str) -> bool:
        """The limiter is done with it: admitted, or a final result."""
        return command_id in self._admitted or command_id in self._finals

    def has_event(self, message_id: str) -> bool:
        return message_id in self._messages

    def is_answered(self, request_id: str) -> bool:
        return request_id in self._answers

    def state(self, instance_id: str) -> str:
        return self._states.get(instance_id, "")

    def last(self, instance_id: str) -> float:
        """Epoch seconds at which the last event of its session was seen here."""
        return self._last.get(instance_id, 0.0)

    def online_after(self, instance_id: str, at: float) -> Online | None:
        """The first time it came online after a moment."""
        with self._lock:
            return next((each for each in self._online[instance_id] if each.at > at), None)

    def owned(self) -> list[Owned]:
        with self._lock:
            return list(self._owned)

    def positions(self) -> list[Position]:
        with self._lock:
            return list(self._positions)

    # --- what is told ------------------------------------------------------------------------------------------------

    def take_answer(self, record: dict[str, Any]) -> None:
        self._answers.add(record["request_id"])

    def take_result(self, record: dict[str, Any]) -> None:
        if record["final"]:
            self._finals.add(record["command_id"])
        elif record["state"] == "admitted":
            self._admitted.add(record["command_id"])

    def take_event(self, topic: str, record: dict[str, Any], at: float, now: float) -> None:
        """`at` is the record's time, `now` that of seeing it."""
        envelope = record["envelope"]
        if envelope["session_epoch"] is None:
            return
        instance, epoch = envelope["instance_id"], envelope["session_epoch"]
        self._last[instance] = now
        if topic == "events.message":
            if record["kind"] == "message.new":
                self._messages.add(record["key"]["id"])
        elif record["state"] not in HAPPENINGS:
            self._states[instance] = str(record["state"])
            if record["state"] == "online":
                with self._lock:
                    self._online[instance].append(Online(instance, epoch, at))

    def take_mark(self, claim: Claim, at: float) -> None:
        with self._lock:
            self._owned.append(Owned(claim, at))

    def take_positions(self, positions: Sequence[Position]) -> None:
        with self._lock:
            self._positions += positions
