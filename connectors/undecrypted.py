"""Messages that could not be decrypted and may still come, as part of the session's state. Pure.

The sender is asked for each again. What comes is an event of its own that names the first one; what has not come after
a time is told as a gap, once, and still is recognised when it comes later.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import orjson

from connectors.state_items import OWN

ITEM = OWN + "undecrypted"
# Above it the oldest is given up: a session that can decrypt nothing at all does not grow.
MOST = 500

Key: TypeAlias = tuple[str, str, str]


@dataclass(slots=True)
class _Missing:
    event_id: str
    due_ms: int
    given_up: bool = False


class Undecrypted:
    """Keyed by (chat, sender, message id), oldest first. `total` counts all there ever were."""

    def __init__(self) -> None:
        self.total = 0
        self._missing: dict[Key, _Missing] = {}
        self._changed = False

    @classmethod
    def restore(cls, value: bytes | None) -> Undecrypted:
        made = cls()
        if value is not None:
            made.total, rows = orjson.loads(value)
            made._missing = {(row[0], row[1], row[2]): _Missing(*row[3:]) for row in rows}
        return made

    def value(self) -> bytes:
        rows = [(*key, each.event_id, each.due_ms, each.given_up) for key, each in self._missing.items()]
        return orjson.dumps((self.total, rows))

    def __len__(self) -> int:
        """How many are being waited for."""
        return sum(not each.given_up for each in self._missing.values())

    def add(self, key: Key, event_id: str, due_ms: int) -> None:
        self.total += 1
        self._changed = True
        self._missing.setdefault(key, _Missing(event_id, due_ms))

    def count(self) -> None:
        """One that will not come: nothing is waited for."""
        self.total += 1
        self._changed = True

    def came(self, key: Key) -> str | None:
        """The event id of the message.undecryptable that this message makes good."""
        missing = self._missing.pop(key, None)
        if missing is None:
            return None
        self._changed = True
        return missing.event_id

    def overdue(self, now_ms: int) -> list[Key]:
        """Those to be told as missing, now and once."""
        waiting = [(key, each) for key, each in self._missing.items() if not each.given_up]
        room = MOST - len(self._missing)
        late = [(key, each) for at, (key, each) in enumerate(waiting) if each.due_ms <= now_ms or at < -room]
        for _, each in late:
            each.given_up = True
        if late:
            self._changed = True
            self._forget()
        return [key for key, _ in late]

    def wake_at(self) -> int | None:
        return min((each.due_ms for each in self._missing.values() if not each.given_up), default=None)

    def changes(self) -> Mapping[str, bytes]:
        changed, self._changed = self._changed, False
        return {ITEM: self.value()} if changed else {}

    def _forget(self) -> None:
        for key in [key for key, each in self._missing.items() if each.given_up]:
            if len(self._missing) <= MOST:
                return
            del self._missing[key]


def as_dicts(keys: list[Key]) -> list[dict[str, Any]]:
    return [{"chat": chat, "sender": sender, "id": message_id} for chat, sender, message_id in keys]
