"""Nothing lost, nothing doubled: compares what went in with what came out, by ids, in both directions.

Pure: the observations are made elsewhere (the simulator's ledgers, a read_committed dump of the log). A key is
(instance id, message or command id). Sequences hold one entry per record or delivery, so that a doubled one shows.

Inward:  accepted by WhatsApp for an instance  =  events of incoming messages.
Outward: commands produced  =  commands with exactly one final result;
         finals that say `sent`  =  messages the recipients decrypted  =  events of outgoing messages.
A final `unknown` (nobody knows) allows its message to have arrived or not, but not twice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

Key = tuple[str, str]

SENT = "sent"
UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Final:
    """One final result record. A repeated answer to a duplicate command has the `result_id` of the first."""

    instance_id: str
    command_id: str
    result_id: str
    state: str
    message_id: str | None = None

    @property
    def command(self) -> Key:
        return self.instance_id, self.command_id

    @property
    def message(self) -> Key | None:
        return (self.instance_id, self.message_id) if self.message_id else None


@dataclass(frozen=True, slots=True)
class Observation:
    accepted: Sequence[Key] = ()  # ledger: contact → instance, taken by the server
    events_in: Sequence[Key] = ()  # log: incoming messages
    commands: Sequence[Key] = ()  # what was produced; the same id twice is one command
    finals: Sequence[Final] = ()  # log: final results
    received: Sequence[Key] = ()  # ledger: instance → contact, decrypted by the contact's client
    events_out: Sequence[Key] = ()  # log: outgoing messages


@dataclass(frozen=True, slots=True)
class Report:
    counts: dict[str, int]
    differences: dict[str, list[Key]] = field(default_factory=dict)

    @property
    def clean(self) -> bool:
        return not self.differences

    def lines(self, shown: int = 5) -> list[str]:
        """One line per count and per kind of difference, for people."""
        out = [f"{name}: {count}" for name, count in self.counts.items()]
        for name, keys in self.differences.items():
            some = ", ".join("/".join(key) for key in keys[:shown])
            out.append(f"DIFFERENCE {name}: {len(keys)}: {some}" + (" …" if len(keys) > shown else ""))
        return out


def compare(seen: Observation) -> Report:
    commands = set(seen.commands)
    finals = _finals_by_command(seen.finals)
    sent = {final.message for final in seen.finals if final.state == SENT and final.message}
    perhaps = {final.message for final in seen.finals if final.state == UNKNOWN and final.message}
    accepted, events_in = set(seen.accepted), set(seen.events_in)
    received, events_out = set(seen.received), set(seen.events_out)
    differences = {
        "in: accepted by WhatsApp, no event": accepted - events_in,
        "in: event, never accepted by WhatsApp": events_in - accepted,
        "in: more than one event": _doubled(seen.events_in),
        "in: more than one acceptance under one id": _doubled(seen.accepted),
        "out: command without a final result": commands - finals.keys(),
        "out: final result of no command": finals.keys() - commands,
        "out: more than one final result": {command for command, ids in finals.items() if len(ids) > 1},
        "out: result says sent, but without a message id": {
            final.command for final in seen.finals if final.state == SENT and not final.message
        },
        "out: result says sent, recipient has nothing": sent - received,
        "out: recipient has it, result does not say sent": received - sent - perhaps,
        "out: recipient has it more than once": _doubled(seen.received),
        "out: result says sent, no event": sent - events_out,
        "out: event, result does not say sent": events_out - sent - perhaps,
        "out: more than one event": _doubled(seen.events_out),
    }
    counts = {
        "in: accepted by WhatsApp": len(accepted),
        "in: events": len(seen.events_in),
        "out: commands": len(commands),
        "out: final results": sum(len(ids) for ids in finals.values()),
        "out: results that say sent": len(sent),
        "out: received": len(seen.received),
        "out: events": len(seen.events_out),
    }
    return Report(counts, {name: sorted(keys) for name, keys in differences.items() if keys})


def _finals_by_command(finals: Iterable[Final]) -> dict[Key, set[str]]:
    """Result ids per command: the stored answer to a duplicate command is no second result."""
    out: dict[Key, set[str]] = {}
    for final in finals:
        out.setdefault(final.command, set()).add(final.result_id)
    return out


def _doubled(keys: Iterable[Key]) -> set[Key]:
    return {key for key, count in Counter(keys).items() if count > 1}
