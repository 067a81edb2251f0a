"""The state of one partition, and the only way to change it: every change is also an item of `wa.limits`.

What `take_changes` hands out, applied in order to an empty state by `restore`, gives the same state: that is the
restart. Seen commands and the bytes of held ones are in the store on disk; memory holds what is small.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from typing import Protocol, TypeVar

from core.errors import DBError
from streams.limiter import items
from streams.limiter.command import digest_of
from streams.limiter.items import DAY_MS, Counters, Held, OnlineMark, Seen
from streams.limiter.limits import Facts
from streams.limiter.queue import HeldQueue
from streams.limiter.store import Store

# A command id means the same command for this long; its whole day is kept until the last of it is that old.
SEEN_MS = 72 * 3_600_000
_NO_COUNTERS = Counters()
T = TypeVar("T")


class Instances(Protocol):
    """`wa.instances`, read to its end before the partition was taken over."""

    def facts(self, instance_id: str) -> Facts | None:
        """The instance as the registrar last decided."""


class State:
    """Implements decide.View."""

    def __init__(self, store: Store, instances: Instances) -> None:
        self._store = store
        self._instances = instances
        self._queues: dict[str, HeldQueue] = {}
        self._instance_of: dict[bytes, str] = {}
        self._online: dict[str, OnlineMark] = {}
        self._counters: dict[str, Counters] = {}
        self._deadlines: list[tuple[int, bytes]] = []
        self._changes: dict[bytes, bytes | None] = {}
        self._time_ms = 0

    # -- what a decision looks at

    def seen(self, digest: bytes) -> Seen | None:
        return self._store.seen(digest)

    def held(self, digest: bytes) -> Held | None:
        instance_id = self._instance_of.get(digest)
        return None if instance_id is None else self._queues[instance_id].get(digest)

    def target(self, instance_id: str, command_id: str) -> bytes:
        return digest_of(instance_id, command_id)

    def facts(self, instance_id: str) -> Facts | None:
        return self._instances.facts(instance_id)

    def online(self, instance_id: str, generation: int) -> bool:
        mark = self._online.get(instance_id)
        return mark is not None and mark.online and mark.generation == generation

    def counters(self, instance_id: str) -> Counters:
        return self._counters.get(instance_id, _NO_COUNTERS)

    def queued(self, instance_id: str) -> tuple[int, int]:
        queue = self._queues.get(instance_id)
        return (0, 0) if queue is None else (len(queue), queue.size)

    def sends_due(self, instance_id: str, now_ms: int) -> bool:
        queue = self._queues.get(instance_id)
        first = None if queue is None else queue.first_send()
        if queue is None or first is None:
            return False
        held = queue.get(first)
        return held is not None and held.due_ms <= now_ms

    # -- what the partition walks through

    def queue(self, instance_id: str) -> HeldQueue | None:
        return self._queues.get(instance_id)

    def waiting_instances(self) -> list[str]:
        """Instances that have held commands."""
        return list(self._queues)

    def known_instances(self) -> Iterable[str]:
        """Instances that something is remembered of beside their commands."""
        return self._online.keys() | self._counters.keys()

    def body(self, digest: bytes) -> bytes:
        return self._store.body(digest)

    def mark(self, instance_id: str) -> OnlineMark | None:
        return self._online.get(instance_id)

    def held_count(self) -> int:
        return len(self._instance_of)

    def overdue(self, now_ms: int) -> Iterator[bytes]:
        """Held commands whose deadline has come; each is to be popped by the caller before the next is asked for."""
        while self._deadlines and self._deadlines[0][0] <= now_ms:
            deadline_ms, digest = heapq.heappop(self._deadlines)
            held = self.held(digest)
            if held is not None and held.deadline_ms == deadline_ms:
                yield digest

    def next_deadline(self) -> int | None:
        return self._deadlines[0][0] if self._deadlines else None

    # -- changes

    def remember(self, digest: bytes, seen: Seen) -> None:
        """A command was decided, or its result is newer."""
        self._store.put_seen(digest, seen)
        self._changes[items.seen_key(seen.day, digest)] = seen.pack()

    def hold(self, digest: bytes, held: Held, body: bytes) -> None:
        self._add_held(digest, held, body)
        self._changes[items.held_key(digest)] = held.pack(body)

    def release(self, digest: bytes) -> tuple[Held, bytes]:
        """The command leaves, whichever way; returns it with its bytes."""
        body = self._store.body(digest)
        held = self._drop_held(digest)
        self._changes[items.held_key(digest)] = None
        return held, body

    def set_online(self, instance_id: str, mark: OnlineMark) -> None:
        self._online[instance_id] = mark
        self._changes[items.online_key(instance_id)] = mark.pack()

    def set_counters(self, instance_id: str, counters: Counters) -> None:
        self._counters[instance_id] = counters
        self._changes[items.counters_key(instance_id)] = counters.pack()

    def forget_instance(self, instance_id: str) -> None:
        """The instance is gone; its commands have ended."""
        if self._online.pop(instance_id, None) is not None:
            self._changes[items.online_key(instance_id)] = None
        if self._counters.pop(instance_id, None) is not None:
            self._changes[items.counters_key(instance_id)] = None

    def passed(self, time_ms: int) -> int:
        """The commands read stood as late as this; only that ages what was seen, so a backlog forgets nothing.

        Gives the latest time so far: the time of a command never goes back, whatever its record says.
        """
        self._time_ms = max(self._time_ms, time_ms)
        return self._time_ms

    def forget_old(self, limit: int) -> int:
        """Forget up to `limit` commands of days whose last command is 72 hours old; returns how many."""
        dropped = 0
        for day in self._store.days():
            if (day + 1) * DAY_MS + SEEN_MS > self._time_ms or dropped >= limit:
                break
            for digest in self._store.digests(day, limit - dropped):
                self._store.drop_seen(day, digest)
                self._changes[items.seen_key(day, digest)] = None
                dropped += 1
        return dropped

    def take_changes(self) -> dict[bytes, bytes | None]:
        """Items changed since the last call, each with its newest value."""
        changes, self._changes = self._changes, {}
        self._store.flush()
        return changes

    # -- restart

    def restore(self, key: bytes, value: bytes | None) -> None:
        """One item as it stands in `wa.limits`, oldest first."""
        kind, name = key[:1], key[1:]
        if kind == items.SEEN:
            day, digest = items.split_seen_key(key)
            if value is None:
                self._store.drop_seen(day, digest)
            else:
                seen = items.unpack_seen(value)
                self._store.put_seen(digest, seen)
                self.passed(seen.timestamp_ms)
        elif kind == items.HELD:
            if name in self._instance_of:
                self._drop_held(name)
            if value is not None:
                held, body = items.unpack_held(value)
                self._add_held(name, held, body)
        elif kind == items.ONLINE:
            _restore_small(self._online, name.decode(), None if value is None else items.unpack_online(value))
        elif kind == items.COUNTERS:
            _restore_small(self._counters, name.decode(), None if value is None else items.unpack_counters(value))
        else:
            raise DBError("db.state_corrupt", f"wa.limits has an item of a kind this version does not know: {kind!r}")

    def drop_from(self, offset: int) -> int:
        """Forget commands that stood at or above an offset, which will be read again; returns how many."""
        dropped = self._store.seen_from(offset)
        for day, digest in dropped:
            self._store.drop_seen(day, digest)
            self._changes[items.seen_key(day, digest)] = None
            if digest in self._instance_of:
                self._drop_held(digest)
                self._changes[items.held_key(digest)] = None
        return len(dropped)

    def close(self) -> None:
        self._store.close()

    def _add_held(self, digest: bytes, held: Held, body: bytes) -> None:
        self._store.put_body(digest, body)
        self._queues.setdefault(held.instance_id, HeldQueue()).put(digest, held)
        self._instance_of[digest] = held.instance_id
        heapq.heappush(self._deadlines, (held.deadline_ms, digest))

    def _drop_held(self, digest: bytes) -> Held:
        instance_id = self._instance_of.pop(digest)
        queue = self._queues[instance_id]
        held = queue.pop(digest)
        if not queue:
            del self._queues[instance_id]
        self._store.drop_body(digest)
        return held


def _restore_small(table: dict[str, T], name: str, item: T | None) -> None:
    if item is None:
        table.pop(name, None)
    else:
        table[name] = item
