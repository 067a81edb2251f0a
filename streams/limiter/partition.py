"""One partition at work: verdicts are carried out on its state and become records of the transaction.

Nothing here does I/O or reads a clock. Whatever happens to a held command (its instance appears, goes online or is
deleted, its time comes, its pace allows it) ends in `_advance` of its instance, which asks `decide_held` in the order
of the queue.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Final

from core import ids
from core.clock import SetBack
from core.errors import PoisonError
from core.kafka.processor import OutRecord
from streams.limiter.command import Arrival, Record, digest_of
from streams.limiter.decide import (
    UNKNOWN_INSTANCE,
    Admit,
    CancelHeld,
    End,
    Hold,
    Mismatch,
    Repeat,
    Wait,
    decide,
    decide_held,
)
from streams.limiter.items import Held, OnlineMark, Seen
from streams.limiter.limits import Policy, charge
from streams.limiter.records import Codec, Writer, result
from streams.limiter.state import State
from streams.limiter.validation import Problem

# Bounds one call, so that a partition with a long queue does not hold up the others.
RELEASES_PER_TICK: Final = 500
FORGOTTEN_PER_TICK: Final = 500
# Commands for an unknown instance are looked at together, not each at its own millisecond.
_GRACE_STEP_MS: Final = 100

# What a session may say beside its state: the mark stays as it is. In every other state but online it is not online.
_MOMENTS: Final = frozenset({"offline_sync", "gap", "restored", "degraded", "unknown"})
_NOTHING_ELSE: Final[Record] = {"metadata": {}, "tenant": None, "lane": "unknown"}


class Partition:
    """`on_decision` is told each outcome, for the metrics."""

    def __init__(
        self,
        number: int,
        state: State,
        codec: Codec,
        writer: Writer,
        policy: Policy,
        on_decision: Callable[[str], None],
    ) -> None:
        self.number = number
        self.state = state
        self._codec = codec
        self._writer = writer
        self._policy = policy
        self._on_decision = on_decision
        self._records: list[OutRecord] = []
        self._wakes: list[tuple[int, str]] = []
        self._wake_of: dict[str, int] = {}
        self._set_back = SetBack()

    # -- what happens

    def started(self, position: int | None, now_ms: int) -> None:
        """The state is restored; commands from `position` on will be read (again)."""
        if position is not None:
            self.state.drop_from(position)
        # The commands decided so far stood no later than this.
        self._set_back.by(self.state.passed(0))
        self._look_at_the_clock(now_ms)
        for instance_id in self.state.waiting_instances():
            self._wake(instance_id, now_ms)
        for instance_id in list(self.state.known_instances()):
            self._forget_if_gone(instance_id)

    def time_of(self, timestamp_ms: int, now_ms: int) -> int:
        """When a command stood in its topic: not in the future, and not before those in front of it."""
        self._look_at_the_clock(now_ms)
        return self.state.passed(min(timestamp_ms, now_ms) if timestamp_ms > 0 else now_ms)

    def command(self, arrival: Arrival, now_ms: int) -> None:
        """A command was read, on the right partition."""
        match decide(self.state, arrival, now_ms, self._policy):
            case Repeat(seen):
                self._records.append(self._writer.repeated(seen.result))
                self._on_decision("duplicate")
            case Mismatch():
                self.refuse(
                    arrival.command,
                    Problem("api.idempotency_mismatch", "the command id was used with another body", "command_id"),
                    now_ms,
                    kind=f"mismatch:{arrival.body_hash.hex()}",
                )
            case Admit() as admit:
                self._admit(arrival, admit, now_ms, None)
            case Hold() as hold:
                self._hold(arrival, hold, now_ms)
            case CancelHeld(target):
                self._leave(target, End("cancelled"), now_ms)
                self._end(arrival, End("done"), now_ms)
            case End() as end:
                self._end(arrival, end, now_ms)

    def refuse(self, command: Record, problem: Problem, now_ms: int, *, kind: str = "final") -> None:
        """A rejection that is not remembered: whoever asks again gets the same one."""
        record = result(command, "rejected", now_ms, final=True, problem=problem, kind=kind)
        self._records.append(self._writer.result(record, self._writer.encode_result(record), None))
        self._on_decision("rejected")

    def write(self, record: OutRecord) -> None:
        """A record made elsewhere: a dead letter, a forwarded command."""
        self._records.append(record)

    def told(self, record: Record, value: bytes) -> None:
        """The connector told a result: a final one is what a duplicate gets from now on."""
        if not record["final"] or record["result_id"] != ids.result_id(record["instance_id"], record["command_id"]):
            return
        digest = digest_of(record["instance_id"], record["command_id"])
        seen = self.state.seen(digest)
        if seen is not None and not seen.final and record["revision"] > seen.revision:
            self.state.remember(digest, seen.ended(record["revision"], value))

    def session(self, event: Record, now_ms: int) -> None:
        """A session said something about its instance."""
        if event["state"] in _MOMENTS:
            return
        instance_id, generation = event["envelope"]["instance_id"], event["envelope"]["generation"]
        former, facts = self.state.mark(instance_id), self.state.facts(instance_id)
        newest = max(former.generation if former else 0, facts.generation if facts else 0)
        mark = OnlineMark(generation, event["state"] == "online")
        if generation < newest or mark == former:
            return
        self.state.set_online(instance_id, mark)
        self._wake(instance_id, now_ms)

    def instance_changed(self, instance_id: str, now_ms: int) -> None:
        """`wa.instances` says something new about it."""
        self._wake(instance_id, now_ms)
        if self.state.queue(instance_id) is None:
            self._forget_if_gone(instance_id)

    def tick(self, now_ms: int) -> None:
        """Time has come this far."""
        self._look_at_the_clock(now_ms)
        for digest in self.state.overdue(now_ms):
            held = self.state.held(digest)
            verdict = None if held is None else decide_held(self.state, held, now_ms, self._policy)
            if isinstance(verdict, End):
                self._leave(digest, verdict, now_ms)
        budget = RELEASES_PER_TICK
        while self._wakes and self._wakes[0][0] <= now_ms and budget > 0:
            when, instance_id = heapq.heappop(self._wakes)
            if self._wake_of.get(instance_id) == when:
                del self._wake_of[instance_id]
                budget -= self._advance(instance_id, now_ms, budget)
        self.state.forget_old(FORGOTTEN_PER_TICK)

    def take(self) -> list[OutRecord]:
        """The records since the last call, the changed items of the state among them."""
        records, self._records = self._records, []
        records.extend(self._writer.items(self.state.take_changes(), self.number))
        return records

    # -- held commands

    def _look_at_the_clock(self, now_ms: int) -> None:
        """After a step back what was due stays due, and everything is asked again."""
        by_ms = self._set_back.by(now_ms)
        if not by_ms:
            return
        self._wakes.clear()
        self._wake_of.clear()
        for instance_id in self.state.waiting_instances():
            for digest in list(self.state.queue(instance_id) or ()):
                held = self.state.held(digest)
                if held is not None:
                    self.state.hold(digest, held.set_back(by_ms, now_ms + by_ms), self.state.body(digest))
            self._wake(instance_id, now_ms)

    def _wake(self, instance_id: str, when_ms: int) -> None:
        known = self._wake_of.get(instance_id)
        if known is None or when_ms < known:
            self._wake_of[instance_id] = when_ms
            heapq.heappush(self._wakes, (when_ms, instance_id))

    def _advance(self, instance_id: str, now_ms: int, budget: int) -> int:
        """Let go what may go; returns how many commands left."""
        queue = self.state.queue(instance_id)
        if queue is None:
            self._forget_if_gone(instance_id)
            return 0
        facts = self.state.facts(instance_id)
        if facts is None or facts.deleted or queue.generation() != facts.generation:
            left = self._review(instance_id, now_ms)
            self._forget_if_gone(instance_id)
            if facts is None or facts.deleted:
                return left
        left = 0
        for first in (queue.first_passing, queue.first_send):
            while (digest := first()) is not None:
                if left >= budget:
                    self._wake(instance_id, now_ms)
                    return left
                held = queue.get(digest)
                assert held is not None
                verdict = decide_held(self.state, held, now_ms, self._policy)
                if isinstance(verdict, Wait):
                    if verdict.until_ms is not None:
                        self._wake(instance_id, verdict.until_ms)
                    break
                self._leave(digest, verdict, now_ms)
                left += 1
        return left

    def _review(self, instance_id: str, now_ms: int) -> int:
        """The instance came, went or is another one: every command of its queue is asked; returns how many left."""
        queue = self.state.queue(instance_id)
        facts = self.state.facts(instance_id)
        left = 0
        for digest in list(queue or ()):
            held = self.state.held(digest)
            if held is None:
                continue
            verdict = decide_held(self.state, held, now_ms, self._policy)
            if isinstance(verdict, End):
                self._leave(digest, verdict, now_ms)
                left += 1
            elif facts is not None and not facts.deleted:
                self._adopt(digest, held, facts.generation)
            elif isinstance(verdict, Wait) and verdict.until_ms is not None:
                self._wake(instance_id, -(-verdict.until_ms // _GRACE_STEP_MS) * _GRACE_STEP_MS)
        return left

    def _adopt(self, digest: bytes, held: Held, generation: int) -> None:
        """The instance it waited for is there: from now on it belongs to it."""
        self.state.hold(digest, held.adopted(generation), self.state.body(digest))

    def _leave(self, digest: bytes, verdict: Admit | End, now_ms: int) -> None:
        """A held command leaves: to the connector, or with its final result."""
        held, body = self.state.release(digest)
        try:
            command = self._codec.decode_command(body)
        except PoisonError as cause:
            # It was decodable when it came; this version's schema knows less.
            names = {"instance_id": held.instance_id, "command_id": held.command_id, "type": held.type}
            command = names | _NOTHING_ELSE
            verdict = End("rejected", Problem(cause.code, cause.message, cause.field))
        arrival = held.arrival(command, body, self.number, digest)
        if isinstance(verdict, End):
            self._end(arrival, verdict, now_ms)
        else:
            self._admit(arrival, verdict, now_ms, held.reason)

    def _forget_if_gone(self, instance_id: str) -> None:
        facts = self.state.facts(instance_id)
        if facts is None or facts.deleted:
            self.state.forget_instance(instance_id)

    # -- carrying out

    def _admit(self, arrival: Arrival, admit: Admit, now_ms: int, reason: str | None) -> None:
        """To the connector. `reason` tells why it was held before, None when it was not."""
        instance_id = arrival.instance_id
        counters = self.state.counters(instance_id)
        charged = charge(counters, admit.allowance, now_ms)
        if charged is not counters:
            self.state.set_counters(instance_id, charged)
        self._records.append(
            self._writer.admitted(arrival, admit.allowance, now_ms, released=reason is not None, reason=reason)
        )
        self._tell(arrival, result(arrival.command, "admitted", now_ms, final=False))
        self._on_decision("admitted")

    def _hold(self, arrival: Arrival, hold: Hold, now_ms: int) -> None:
        self.state.hold(arrival.digest, _held(arrival, hold), arrival.value)
        self._tell(arrival, result(arrival.command, "delayed", now_ms, final=False, until_ms=hold.until_ms))
        self._wake(arrival.instance_id, self._first_look(hold, now_ms))
        self._on_decision("delayed")

    def _end(self, arrival: Arrival, end: End, now_ms: int) -> None:
        self._tell(arrival, result(arrival.command, end.state, now_ms, final=True, problem=end.problem))
        self._on_decision(end.state)

    def _tell(self, arrival: Arrival, record: Record) -> None:
        """A result goes out and is remembered in the same transaction."""
        value = self._writer.encode_result(record)
        self._records.append(self._writer.result(record, value, arrival.traceparent))
        self.state.remember(
            arrival.digest,
            Seen(arrival.body_hash, arrival.offset, arrival.timestamp_ms, record["revision"], record["final"], value),
        )

    @staticmethod
    def _first_look(hold: Hold, now_ms: int) -> int:
        """When a command just held may first have a chance."""
        return max(now_ms, hold.grace_until_ms if hold.reason == UNKNOWN_INSTANCE else hold.due_ms)


def _held(arrival: Arrival, hold: Hold) -> Held:
    command = arrival.command
    return Held(
        instance_id=arrival.instance_id,
        command_id=arrival.command_id,
        type=arrival.type,
        offset=arrival.offset,
        timestamp_ms=arrival.timestamp_ms,
        body_hash=arrival.body_hash,
        due_ms=hold.due_ms,
        deadline_ms=hold.deadline_ms,
        expires_at_ms=command["expires_at"],
        grace_until_ms=hold.grace_until_ms,
        generation=hold.generation,
        reason=hold.reason,
        size=len(arrival.value),
        traceparent=arrival.traceparent,
    )
