"""What a run has to answer for: every observation of it, judged. Pure; `wharf chaos` collects the evidence.

Kinds of violations, none of which may occur:
- lost: accepted (by Kafka, by WhatsApp) and not there at the other end, or an event's number that nobody wrote
- doubled: there twice at the other end, or two final results
- reordered: later than one of the same chat that was accepted after it; but a message that the recipient could not decrypt
  and asked for again, as the log tells, comes late by WhatsApp's own rules and is counted apart
- double_ownership: written by one who could not be the owner any more
- unsettled: a command without a final result, a request without an answer, an instance that does not come back
- unexplained: something at one end that was never put in at the other, or not told truly; a session that moved without need
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from core.histories import (
    Claim,
    Position,
    Send,
    Stamp,
    Step,
    late_sends,
    missing_numbers,
    needless,
    outlived,
    overlapping,
    receding,
    reordered,
    stale,
)
from core.oracle import Key, Observation, compare

LOST, DOUBLED, REORDERED = "lost", "doubled", "reordered"
DOUBLE_OWNERSHIP, UNSETTLED, UNEXPLAINED = "double_ownership", "unsettled", "unexplained"
KINDS = (LOST, DOUBLED, REORDERED, DOUBLE_OWNERSHIP, UNSETTLED, UNEXPLAINED)
# Final results that say that a command did not do what it was to; counted apart.
ENDS = ("unknown", "expired", "rejected", "failed", "cancelled")

_KIND_OF = {
    "in: accepted by WhatsApp, no event": LOST,
    "in: event, never accepted by WhatsApp": UNEXPLAINED,
    "in: more than one event": DOUBLED,
    "in: more than one acceptance under one id": UNEXPLAINED,
    "out: command without a final result": UNSETTLED,
    "out: final result of no command": UNEXPLAINED,
    "out: more than one final result": DOUBLED,
    "out: result says sent, but without a message id": UNEXPLAINED,
    "out: result says sent, recipient has nothing": LOST,
    "out: recipient has it, result does not say sent": UNEXPLAINED,
    "out: recipient has it more than once": DOUBLED,
    "out: result says sent, no event": LOST,
    "out: event, result does not say sent": UNEXPLAINED,
    "out: more than one event": DOUBLED,
}


@dataclass(frozen=True, slots=True)
class Evidence:
    """`places` tells where in the log the records of a key stand, for the report."""

    seen: Observation = field(default_factory=Observation)
    acknowledged: Sequence[Key] = ()  # commands that Kafka acknowledged; `seen.commands` are those in the log
    accepted: Sequence[Step] = ()  # in the order in which WhatsApp accepted them
    events_in: Sequence[Step] = ()  # in log order; of an undecryptable message its first event
    commands: Sequence[Step] = ()  # in the order of the command topic, ids of the messages they became
    received: Sequence[Step] = ()  # in the order in which the recipient decrypted them
    asked_again: Collection[Key] = ()  # messages that the recipient could not decrypt, by the log's `retry` events
    stamps: Sequence[Stamp] = ()
    claims: Sequence[Claim] = ()
    positions: Sequence[Position] = ()
    storms: Sequence[tuple[int, int]] = ()  # in ms: only joining and leaving went on
    offline: Sequence[tuple[str, str]] = ()  # instances whose last state is not online, and that state
    sends: Sequence[Send] = ()  # of our instances, as WhatsApp accepted them
    acknowledged_requests: Sequence[Key] = ()
    requests: Sequence[Key] = ()  # in the log; a producer that tried again may have written one twice
    answers: Sequence[Key] = ()  # of the audit topic, one for each time a request stands in the log
    places: Mapping[Key, Sequence[str]] = field(default_factory=dict)
    # ClickHouse against the log; keys are (where, event id) and, of rollups, (rollup, instance, hour, kind).
    stored: int = 0
    stored_missing: Sequence[tuple[str, ...]] = ()
    stored_surplus: Sequence[tuple[str, ...]] = ()
    stored_doubled: Sequence[tuple[str, ...]] = ()
    rollups_short: Sequence[tuple[str, ...]] = ()
    rollups_over: Sequence[tuple[str, ...]] = ()


@dataclass(frozen=True, slots=True)
class Violation:
    kind: str
    what: str
    key: tuple[str, ...]
    places: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, object]:
        return {"kind": self.kind, "what": self.what, "key": list(self.key), "places": list(self.places)}


@dataclass(frozen=True, slots=True)
class Verdict:
    counts: dict[str, int]
    violations: list[Violation]

    @property
    def clean(self) -> bool:
        return not self.violations

    def number(self, kind: str) -> int:
        return sum(violation.kind == kind for violation in self.violations)

    def lines(self, shown: int = 5) -> list[str]:
        """A line per way in which something is wrong, for people."""
        out = []
        for what, count in Counter((each.kind, each.what) for each in self.violations).items():
            some = [each for each in self.violations if (each.kind, each.what) == what][:shown]
            named = ", ".join(f"{'/'.join(each.key)} ({', '.join(each.places) or 'nowhere'})" for each in some)
            out.append(f"{what[0].upper()} {what[1]}: {count}: {named}" + (" …" if count > shown else ""))
        return out


def judge(evidence: Evidence) -> Verdict:
    report = compare(evidence.seen)
    violations = [
        Violation(_KIND_OF[what], what, key, tuple(evidence.places.get(key, ())))
        for what, keys in report.differences.items()
        for key in keys
    ]
    violations += _keyed(
        LOST, "out: acknowledged by Kafka, not in the log", set(evidence.acknowledged) - set(evidence.seen.commands)
    )
    violations += _steps("in: events of a chat", reordered(evidence.accepted, evidence.events_in))
    late = reordered(evidence.commands, evidence.received)
    violations += _steps(
        "out: messages to a chat", [step for step in late if (step.instance_id, step.id) not in evidence.asked_again]
    )
    repeated = stale(evidence.stamps)
    violations += [_of_stamp("record of a former owner, or written twice", stamp) for stamp in repeated]
    violations += [
        _of_stamp("record of a former owner, written after the next one's claim", stamp)
        for stamp in outlived(evidence.stamps, evidence.claims)
        if stamp not in repeated
    ]
    violations += [
        Violation(
            DOUBLE_OWNERSHIP, "message sent by a former owner after the next one's claim", (one.instance_id, one.id)
        )
        for one in late_sends(evidence.sends, evidence.claims)
    ]
    violations += [
        Violation(LOST, "event number that nobody wrote", _numbers(stamp)) for stamp in missing_numbers(evidence.stamps)
    ]
    violations += [
        Violation(
            DOUBLE_OWNERSHIP,
            f"{claim.kind} by one who was not the owner",
            (str(claim.partition), claim.slot, claim.incarnation),
            (claim.at,),
        )
        for claim in overlapping(evidence.claims)
    ]
    violations += [
        Violation(
            DOUBLE_OWNERSHIP, "position that goes back", (str(one.partition), one.topic, str(one.next)), (one.at,)
        )
        for one in receding(evidence.positions)
    ]
    violations += [
        Violation(UNEXPLAINED, "session opened anew although its partition stayed", _numbers(stamp), (stamp.at,))
        for stamp in needless(evidence.stamps, evidence.claims, evidence.storms)
    ]
    violations += _keyed(UNSETTLED, "instance that is not online in the end", evidence.offline)
    violations += _keyed(
        LOST,
        "request acknowledged by Kafka, not in the log",
        set(evidence.acknowledged_requests) - set(evidence.requests),
    )
    asked, answers = Counter(evidence.requests), Counter(evidence.answers)
    violations += _keyed(UNSETTLED, "request without an answer", (asked - answers).keys())
    violations += _keyed(DOUBLED, "request answered more often than asked", (answers - asked).keys())
    for kind, what, places in (
        (LOST, "event of the log that is not in ClickHouse", evidence.stored_missing),
        (UNEXPLAINED, "event in ClickHouse that is not in the log", evidence.stored_surplus),
        (DOUBLED, "event more than once in ClickHouse", evidence.stored_doubled),
        (LOST, "rollup below its events", evidence.rollups_short),
        (DOUBLED, "rollup above its events", evidence.rollups_over),
    ):
        violations += _keyed(kind, what, places)
    apart = {"stored": evidence.stored, "asked_again": len(evidence.asked_again)}
    return Verdict({**report.counts, **apart, **_ends(evidence)}, violations)


def _ends(evidence: Evidence) -> dict[str, int]:
    states = Counter({final.command: final.state for final in evidence.seen.finals}.values())
    return {state: states[state] for state in ENDS}


def _keyed(kind: str, what: str, keys: Iterable[tuple[str, ...]]) -> list[Violation]:
    return [Violation(kind, what, key) for key in sorted(keys)]


def _steps(what: str, steps: Iterable[Step]) -> list[Violation]:
    return [
        Violation(REORDERED, what, (step.instance_id, step.chat, step.id), (step.at,) if step.at else ())
        for step in steps
    ]


def _of_stamp(what: str, stamp: Stamp) -> Violation:
    return Violation(DOUBLE_OWNERSHIP, what, _numbers(stamp), (stamp.at,) if stamp.at else ())


def _numbers(stamp: Stamp) -> tuple[str, str, str]:
    return stamp.instance_id, str(stamp.epoch), str(stamp.seq)
