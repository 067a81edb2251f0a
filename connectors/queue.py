"""The commands of one instance that have no final result yet: order per chat, one at a time per chat, bounded.

Pure: every method returns what is to be told and leaves changed items in `changes()`; both go into one transaction.
A blocked chat delays only its own lane. Whatever is under way blocks all addresses known for its chat, so that nothing
newer to that chat overtakes it.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping

from connectors.sends import (
    FIRST_REVISION,
    MARKS,
    RESEND_AFTER_MS,
    RETRY_AFTER_MS,
    Outgoing,
    Problem,
    State,
    Told,
    refusal,
    success,
    tell,
    wait_ms,
)
from connectors.state_items import OWN

BODY = OWN + "q/"
PROGRESS = OWN + "s/"
MAX_COMMANDS = 1_000
MAX_BYTES = 8 * 1024 * 1024
# Chats being served at once per session; whatsmeow sends one after another anyway, this only keeps its next one ready.
WINDOW = 8
DUE_AGAIN_MS = 1_000
SPENT_DEADLINES = 16
# Receipts that tell nothing about whether the message arrived.
_NOT_SETTLING = frozenset({"retry", "server-error", "hist_sync", "peer_msg"})


class SendQueue:
    """Keyed by offset; lanes hold their commands in offset order."""

    def __init__(self) -> None:
        self._by_id: dict[str, Outgoing] = {}
        self._by_message: dict[str, Outgoing] = {}
        self._lanes: dict[str, deque[Outgoing]] = {}
        self._changes: dict[str, bytes | None] = {}
        # Settled by a receipt while the host still works on it: the chat stays busy until the host is done.
        self._draining: dict[str, Outgoing] = {}
        self._handed = 0
        self._bytes = 0
        self._paced_until = 0
        # (deadline, command id), stale ones included: looked at only when their time comes.
        self._deadlines: list[tuple[int, str]] = []

    def __len__(self) -> int:
        return len(self._by_id)

    def __iter__(self) -> Iterator[Outgoing]:
        return iter(self._by_id.values())

    def __contains__(self, command_id: str) -> bool:
        return command_id in self._by_id

    @classmethod
    def restore(cls, items: Mapping[str, bytes], parse: Callable[[int, bytes], Outgoing]) -> SendQueue:
        """From the committed items. Behaves as the queue that wrote them, with nothing handed out."""
        queue = cls()
        for name in sorted(name for name in items if name.startswith(BODY)):
            command = parse(int(name[len(BODY) :], 16), items[name])
            progress = items.get(PROGRESS + name[len(BODY) :])
            if progress is None:
                command.revision = FIRST_REVISION + 1
            else:
                command.resume(progress)
                command.next_at = 0
            queue._insert(command)
        return queue

    def changes(self) -> dict[str, bytes | None]:
        """Items changed since the last call."""
        out, self._changes = self._changes, {}
        return out

    def get(self, command_id: str) -> Outgoing | None:
        return self._by_id.get(command_id)

    def by_message(self, message_id: str) -> Outgoing | None:
        return self._by_message.get(message_id)

    def has(self, kind: str) -> bool:
        return any(command.type == kind for command in self._by_id.values())

    # ------------------------------------------------------------------ in

    def admit(self, command: Outgoing) -> Told:
        """QUEUED, or rejected when the queue is full."""
        if len(self._by_id) >= MAX_COMMANDS or self._bytes + len(command.body) > MAX_BYTES:
            return tell(
                command,
                "rejected",
                Problem("api.queue_full", f"more than {MAX_COMMANDS} commands or {MAX_BYTES >> 20} MiB are waiting"),
                final=True,
            )
        self._insert(command)
        self._changes[_name(BODY, command)] = command.body
        return tell(command, "queued", final=False)

    def cancel(self, target_id: str | None) -> Told | None:
        """The target's `cancelled`, or None when it is too late or unknown."""
        target = self._by_id.get(target_id or "")
        if target is None or target.handed or target.state is not State.QUEUED:
            return None
        return self._finish(target, "cancelled")

    def supersede(self, kind: str, message: str) -> list[Told]:
        """Ends the waiting commands of a kind of which only the newest counts (pair)."""
        return [
            self._finish(command, "failed", Problem("api.conflict", message))
            for command in list(self._by_id.values())
            if command.type == kind
        ]

    # ------------------------------------------------------------------ out

    def ready(self, now_ms: int, may: Callable[[Outgoing], bool]) -> list[Outgoing]:
        """What the host is to get now, interrupted sends before new ones; marks them handed."""
        if self._handed >= WINDOW or not self._by_id:
            return []
        heads = [lane[0] for lane in self._lanes.values()]
        busy = _busy((*self._draining.values(), *heads))
        out: list[Outgoing] = []
        for command in sorted(heads, key=lambda each: (each.state is State.QUEUED, each.offset)):
            if self._handed >= WINDOW:
                break
            if self._is_its_turn(command, busy, now_ms) and may(command):
                command.handed = True
                self._handed += 1
                busy.add(command.lane)
                out.append(command)
                if command.state is State.QUEUED and _is_paced(command):
                    self._paced_until = now_ms + command.interval_ms
        return out

    def _is_its_turn(self, command: Outgoing, busy: set[str], now_ms: int) -> bool:
        if command.handed or command.next_at > now_ms:
            return False
        if command.deadline is not None and command.deadline <= now_ms:
            return False
        if command.state is not State.QUEUED:
            return not command.hold
        return command.lane not in busy and not (_is_paced(command) and now_ms < self._paced_until)

    def wake_at(self, now_ms: int) -> int | None:
        """When time alone changes something: a resend, a pace, an expiry."""
        times = [self._deadlines[0][0]] if self._deadlines else []
        times += [command.next_at for lane in self._lanes.values() if (command := lane[0]).next_at > now_ms]
        if self._paced_until > now_ms:
            times.append(self._paced_until)
        return min(times, default=None)

    # ------------------------------------------------------------------ what the host says

    def started(
        self, command_id: str, chat: str, names: Iterable[str], now_ms: int, timer: tuple[int, int] | None = None
    ) -> Told | None:
        """SENDING, in the transaction that holds the stanza."""
        command = self._by_id.get(command_id)
        if command is None or command.state is not State.QUEUED:
            return None
        command.state, command.chat, command.started_at = State.SENDING, chat or None, now_ms
        command.names, command.timer = frozenset(name for name in (chat, *names) if name), timer
        if command.expires_at is None:
            self._watch(command)
        told = tell(command, "sending", final=False)
        self._changes[_name(PROGRESS, command)] = command.progress()
        return told

    def acked(self, command_id: str, chat: str = "") -> Told | None:
        command = self._taken_back(command_id)
        if command is None:
            return None
        command.chat = command.chat or chat or None
        return self._finish(command, success(command))

    def refused(self, command_id: str, number: int, kind: str, text: str) -> Told | None:
        command = self._taken_back(command_id)
        return self._finish(command, "failed", refusal(number, kind, text)) if command else None

    def not_sent(self, command_id: str, now_ms: int) -> None:
        """Nothing left: handed out again later, from where it stood."""
        command = self._taken_back(command_id)
        if command is not None:
            command.next_at = now_ms + wait_ms(RETRY_AFTER_MS, command.tries)
            command.tries += 1

    def no_ack(self, command_id: str, now_ms: int) -> list[Told]:
        """On the wire, outcome unknown: its chat waits. A mark has no stanza and may be repeated freely."""
        command = self._taken_back(command_id)
        if command is None:
            return []
        if command.state is State.QUEUED:
            command.next_at = now_ms + wait_ms(RETRY_AFTER_MS, command.tries)
            command.tries += 1
            return []
        return self._unsettle(command, now_ms)

    def receipt(self, message_id: str, wire_type: str) -> Told | None:
        """A receipt proves that the message arrived, whoever it is from."""
        command = self._by_message.get(message_id)
        if command is None or wire_type in _NOT_SETTLING or command.state is State.QUEUED:
            return None
        if command.handed:
            self._draining[command.command_id] = command
        return self._finish(command, success(command))

    def failed(self, command_id: str, problem: Problem) -> Told | None:
        command = self._taken_back(command_id)
        return self._finish(command, "failed", problem) if command else None

    # ------------------------------------------------------------------ time and ends

    def due(self, now_ms: int) -> list[Told]:
        """Expiries: QUEUED and not handed out -> expired, SENDING or UNSETTLED -> unknown."""
        out = []
        while self._deadlines and self._deadlines[0][0] <= now_ms:
            _, command_id = heapq.heappop(self._deadlines)
            command = self._by_id.get(command_id)
            if command is None or command.deadline is None:
                continue
            if command.handed or command.deadline > now_ms:
                # The host is at it: its answer decides, and this looks again a little later.
                heapq.heappush(self._deadlines, (max(command.deadline, now_ms + DUE_AGAIN_MS), command_id))
            elif command.state is State.QUEUED:
                out.append(self._finish(command, "expired", Problem("api.expired", "not sent before expires_at")))
            else:
                out.append(
                    self._finish(command, "unknown", Problem("wa.unknown_outcome", "no answer before its deadline"))
                )
        return out

    def set_back(self, by_ms: int) -> None:
        """The clock was set back: waits last no longer; deadlines are times of day."""
        self._paced_until -= by_ms
        for command in self._by_id.values():
            command.next_at = max(0, command.next_at - by_ms)

    def session_ended(self, now_ms: int) -> list[Told]:
        """The host has nothing any more. What is to be held is now unsettled; the rest resumes on the next session."""
        self._take_all_back()
        out = []
        for command in self._by_id.values():
            if command.state is State.SENDING and command.hold:
                out += self._unsettle(command, now_ms)
            elif command.state is not State.QUEUED:
                command.next_at = 0
        return out

    def logged_out(self, done_id: str) -> list[Told]:
        """The account is gone. Pair commands stay: they are how it comes back."""
        self._take_all_back()
        out = []
        for command in list(self._by_id.values()):
            if command.type == "pair":
                continue
            if command.command_id == done_id:
                out.append(self._finish(command, "done"))
            elif command.state is State.QUEUED:
                out.append(self._finish(command, "failed", Problem("wa.logged_out", "the device is logged out")))
            else:
                out.append(
                    self._finish(command, "unknown", Problem("wa.unknown_outcome", "logged out before the answer came"))
                )
        return out

    def abandon(self, problem: Problem, state: str) -> list[Told]:
        """The instance is gone: nothing of it will be sent."""
        self._take_all_back()
        out = []
        for command in list(self._by_id.values()):
            if command.state is State.QUEUED:
                out.append(self._finish(command, state, problem))
            else:
                out.append(self._finish(command, "unknown", Problem("wa.unknown_outcome", problem.message)))
        return out

    # ------------------------------------------------------------------ inside

    def _insert(self, command: Outgoing) -> None:
        self._by_id[command.command_id] = command
        if command.message_id is not None:
            self._by_message[command.message_id] = command
        self._lanes.setdefault(command.lane, deque()).append(command)
        self._bytes += len(command.body)
        self._watch(command)

    def _watch(self, command: Outgoing) -> None:
        if command.deadline is not None:
            heapq.heappush(self._deadlines, (command.deadline, command.command_id))
        if len(self._deadlines) > 2 * len(self._by_id) + SPENT_DEADLINES:
            # Most are of commands that have ended long before.
            self._deadlines = [entry for entry in self._deadlines if entry[1] in self._by_id]
            heapq.heapify(self._deadlines)

    def _finish(self, command: Outgoing, state: str, problem: Problem | None = None) -> Told:
        del self._by_id[command.command_id]
        if command.message_id is not None:
            del self._by_message[command.message_id]
        lane = self._lanes[command.lane]
        lane.remove(command)
        if not lane:
            del self._lanes[command.lane]
        self._bytes -= len(command.body)
        self._changes[_name(BODY, command)] = None
        if command.state is not State.QUEUED:
            self._changes[_name(PROGRESS, command)] = None
        return tell(command, state, problem, final=True)

    def _unsettle(self, command: Outgoing, now_ms: int) -> list[Told]:
        """Told once; later rounds only move the next try."""
        first = command.state is State.SENDING
        command.next_at = now_ms + wait_ms(RESEND_AFTER_MS, command.tries)
        command.tries += 1
        command.state = State.UNSETTLED
        told = [tell(command, "unsettled", final=False)] if first else []
        self._changes[_name(PROGRESS, command)] = command.progress()
        return told

    def _take_all_back(self) -> None:
        self._draining.clear()
        self._handed = 0
        for command in self._by_id.values():
            command.handed = False

    def _taken_back(self, command_id: str) -> Outgoing | None:
        """The host is done with it, whatever came of it."""
        drained = self._draining.pop(command_id, None)
        command = self._by_id.get(command_id)
        if drained is not None or (command is not None and command.handed):
            self._handed -= 1
        if command is not None:
            command.handed = False
        return command


def _is_paced(command: Outgoing) -> bool:
    return command.interval_ms > 0 and command.type not in MARKS


def _busy(commands: Iterable[Outgoing]) -> set[str]:
    """Every address of the chats in which something is under way."""
    busy: set[str] = set()
    for command in commands:
        if command.handed or command.state is not State.QUEUED:
            busy.add(command.lane)
            busy |= command.names
    return busy


def _name(prefix: str, command: Outgoing) -> str:
    return f"{prefix}{command.offset:016x}"
