"""The decision: what becomes of a command now. Pure: it looks at a view of the state and changes nothing.

`decide` is asked when a command arrives, `decide_held` whenever something it waits for may have come. Order of the
questions: was it decided before, is it valid, is its time over, is it a cancel, is there such an instance, may it go
now.
Every path ends in exactly one verdict; the verdicts that end a command are `End` and, for a cancel, `CancelHeld`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, Protocol, TypeAlias

from streams.limiter.command import PASSING, Arrival
from streams.limiter.items import Counters, Held, Seen
from streams.limiter.limits import Allowance, Facts, Policy, allow, interval_of
from streams.limiter.validation import Problem, problem_of

Final_: TypeAlias = Literal["rejected", "expired", "cancelled", "done"]

UNKNOWN_INSTANCE: Final = "unknown_instance"
NOT_BEFORE: Final = "not_before"
OFFLINE: Final = "offline"
PACING: Final = "pacing"


class View(Protocol):
    """What a decision may look at."""

    def seen(self, digest: bytes) -> Seen | None:
        """The command of that digest, if it was decided in the last 72 hours."""

    def held(self, digest: bytes) -> Held | None:
        """The command of that digest, if it is held here."""

    def target(self, instance_id: str, command_id: str) -> bytes:
        """The digest of a command."""

    def facts(self, instance_id: str) -> Facts | None:
        """The instance, None when `wa.instances`, read to its end, has none."""

    def online(self, instance_id: str, generation: int) -> bool:
        """Whether the session of that generation is online."""

    def counters(self, instance_id: str) -> Counters:
        """What its limits have counted."""

    def queued(self, instance_id: str) -> tuple[int, int]:
        """How many commands are held for the instance, and how many bytes."""

    def sends_due(self, instance_id: str, now_ms: int) -> bool:
        """Whether a command that needs the session is held although its time has come: nobody overtakes it."""


@dataclass(frozen=True, slots=True)
class Repeat:
    """A duplicate: the stored result is told again."""

    seen: Seen


@dataclass(frozen=True, slots=True)
class Mismatch:
    """The id of another command: refused in a result of its own; the first is not touched."""


@dataclass(frozen=True, slots=True)
class Admit:
    """It goes to the connector now."""

    allowance: Allowance


@dataclass(frozen=True, slots=True)
class Hold:
    """It waits here. `until_ms` is an estimate, None when nobody knows."""

    reason: str
    due_ms: int
    deadline_ms: int
    until_ms: int | None
    generation: int | None
    grace_until_ms: int


@dataclass(frozen=True, slots=True)
class Wait:
    """It goes on waiting; `until_ms` None: for an event, or its deadline."""

    until_ms: int | None
    reason: str


@dataclass(frozen=True, slots=True)
class End:
    """Its final result comes from here."""

    state: Final_
    problem: Problem | None = None


@dataclass(frozen=True, slots=True)
class CancelHeld:
    """A cancel whose target is held here: the target is cancelled, the cancel is done."""

    target: bytes


Verdict: TypeAlias = Repeat | Mismatch | Admit | Hold | End | CancelHeld
HeldVerdict: TypeAlias = Admit | Wait | End


def decide(view: View, arrival: Arrival, now_ms: int, policy: Policy) -> Verdict:
    """What becomes of a command that was read now."""
    seen = view.seen(arrival.digest)
    # A hit from the very offset that made the entry is the same record again, not a duplicate.
    if seen is not None and seen.offset != arrival.offset:
        return Repeat(seen) if seen.body_hash == arrival.body_hash else Mismatch()
    problem = problem_of(arrival.command, arrival.size)
    if problem is not None:
        return End("rejected", problem)
    expires_at = arrival.command["expires_at"]
    if expires_at is not None and expires_at <= now_ms:
        return End("expired", Problem("api.expired", "expires_at was over when the command was read", "expires_at"))
    if arrival.type == "cancel":
        return _decide_cancel(view, arrival)
    return _place(view, arrival, now_ms, policy)


def decide_held(view: View, held: Held, now_ms: int, policy: Policy) -> HeldVerdict:
    """What becomes of a held command now that something happened or its time came."""
    if held.deadline_ms <= now_ms:
        return End("expired", _overdue(held))
    facts = view.facts(held.instance_id)
    if facts is None or facts.deleted:
        if held.generation is not None:
            return End("cancelled", Problem("api.not_found", f"instance {held.instance_id} was deleted", "instance_id"))
        if held.grace_until_ms <= now_ms:
            return End("rejected", _no_instance(held.instance_id, facts))
        return Wait(held.grace_until_ms, UNKNOWN_INSTANCE)
    if held.generation not in (None, facts.generation):
        return End(
            "cancelled",
            Problem("api.not_found", f"instance {held.instance_id} was deleted and created anew", "instance_id"),
        )
    if held.due_ms > now_ms:
        return Wait(held.due_ms, NOT_BEFORE)
    if held.type in PASSING:
        return Admit(Allowance(0))
    if not view.online(held.instance_id, facts.generation):
        return Wait(None, OFFLINE)
    allowance = allow(facts, view.counters(held.instance_id), held.type, now_ms, policy)
    if allowance.wait_until_ms is not None:
        return Wait(allowance.wait_until_ms, PACING)
    return Admit(allowance)


def _decide_cancel(view: View, arrival: Arrival) -> Verdict:
    target = view.target(arrival.instance_id, str(arrival.command["target_command_id"]))
    if view.held(target) is not None:
        return CancelHeld(target)
    seen = view.seen(target)
    if seen is None:
        return End("rejected", Problem("api.not_found", "no such command in the last 72 hours", "target_command_id"))
    if seen.final:
        return End("rejected", Problem("api.conflict", "the command has its final result already", "target_command_id"))
    facts = view.facts(arrival.instance_id)
    if facts is None or facts.deleted:
        return End("rejected", _no_instance(arrival.instance_id, facts))
    return Admit(Allowance(0))


def _place(view: View, arrival: Arrival, now_ms: int, policy: Policy) -> Verdict:
    """Now, later or never."""
    command, instance_id = arrival.command, arrival.instance_id
    not_before, expires_at = command["not_before"], command["expires_at"]
    longest = now_ms + policy.longest_wait_ms
    due = now_ms if not_before is None else max(now_ms, not_before)
    if due > longest:
        return End(
            "rejected",
            Problem(
                "api.validation",
                f"not_before is more than {policy.longest_wait_ms // 3_600_000} h away",
                "not_before",
                due - policy.longest_wait_ms,
            ),
        )
    deadline = longest if expires_at is None else min(expires_at, longest)

    def hold(reason: str, until_ms: int | None, generation: int | None, grace_until_ms: int = now_ms) -> Hold | End:
        return _if_room(
            view, arrival, now_ms, policy, Hold(reason, due, deadline, until_ms, generation, grace_until_ms)
        )

    facts = view.facts(instance_id)
    if facts is None or facts.deleted:
        # It may be on its way: whoever adds an instance may send at once.
        return hold(UNKNOWN_INSTANCE, None, None, now_ms + policy.grace_ms)
    if due > now_ms:
        return hold(NOT_BEFORE, due, facts.generation)
    if arrival.type in PASSING:
        return Admit(Allowance(0))
    if not view.online(instance_id, facts.generation):
        return hold(OFFLINE, None, facts.generation)
    allowance = allow(facts, view.counters(instance_id), arrival.type, now_ms, policy)
    if allowance.wait_until_ms is None and not view.sends_due(instance_id, now_ms):
        return Admit(allowance)
    until = max(now_ms, allowance.wait_until_ms or 0) + view.queued(instance_id)[0] * interval_of(facts, policy)
    return hold(PACING, until, facts.generation)


def _if_room(view: View, arrival: Arrival, now_ms: int, policy: Policy, hold: Hold) -> Hold | End:
    """Hold it if there is room, and if it can go before its deadline."""
    commands, size = view.queued(arrival.instance_id)
    if commands >= policy.queue_commands or size + len(arrival.value) > policy.queue_bytes:
        retry_at = max(now_ms + policy.retry_after_ms, hold.until_ms or 0)
        text = f"{commands} commands of {size} bytes wait for {arrival.instance_id}"
        return End("rejected", Problem("api.queue_full", text, None, retry_at))
    if hold.until_ms is not None and hold.until_ms >= hold.deadline_ms:
        return End(
            "rejected", Problem("api.queue_full", "it cannot go before its time is over", "expires_at", hold.until_ms)
        )
    return hold


def _no_instance(instance_id: str, facts: Facts | None) -> Problem:
    what = "there is no instance" if facts is None else "there is no more an instance"
    return Problem("api.not_found", f"{what} {instance_id}", "instance_id")


def _overdue(held: Held) -> Problem:
    if held.expires_at_ms is not None and held.expires_at_ms <= held.deadline_ms:
        return Problem("api.expired", f"expires_at came while it was held: {held.reason}", "expires_at")
    return Problem("api.expired", f"held for as long as a command may be: {held.reason}")
