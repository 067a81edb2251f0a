"""Order and ownership, told from histories: what came in which order, which record was written under which epoch.

Pure. Histories are sequences in the order of their log or ledger; `at` says where an entry stands, for people.

Order: per (instance, chat) messages leave a stage in the order in which they entered the one before it.
Epochs: the records of an instance in one topic have strictly growing (epoch, seq); a lower one is a stale owner's.
Numbers: seq counts every event of an epoch from 1 over all topics; a number that is missing is an event that is lost.
Marks: a claim always stands (it comes after a fence and a read to the end), a release is the owner's only.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from core.kafka.marks import MarkKind


@dataclass(frozen=True, slots=True)
class Step:
    """One message at one stage of its way."""

    instance_id: str
    chat: str
    id: str
    at: str = ""


@dataclass(frozen=True, slots=True)
class Stamp:
    """Under which numbers a record was written."""

    instance_id: str
    topic: str
    epoch: int
    seq: int
    at: str = ""


@dataclass(frozen=True, slots=True)
class Claim:
    """An owner record of the state topic."""

    partition: int
    offset: int
    kind: MarkKind
    slot: str
    incarnation: str

    @property
    def at(self) -> str:
        return f"sessions[{self.partition}]@{self.offset}"


def reordered(entered: Iterable[Step], left: Iterable[Step]) -> list[Step]:
    """Of what left: what came after one that had entered later. Repetitions are judged elsewhere."""
    rank: dict[tuple[str, str, str], int] = {}
    for number, step in enumerate(entered):
        rank.setdefault((step.instance_id, step.chat, step.id), number)
    latest: dict[tuple[str, str], int] = {}
    late, seen = [], set()
    for step in left:
        key = (step.instance_id, step.chat, step.id)
        if key not in rank or key in seen:
            continue
        seen.add(key)
        chat = key[:2]
        if rank[key] < latest.get(chat, -1):
            late.append(step)
        latest[chat] = max(rank[key], latest.get(chat, -1))
    return late


def stale(stamps: Iterable[Stamp]) -> list[Stamp]:
    """Records that do not follow the newest before them in the same topic; `stamps` are in log order."""
    newest: dict[tuple[str, str], tuple[int, int]] = {}
    out = []
    for stamp in stamps:
        where, numbers = (stamp.instance_id, stamp.topic), (stamp.epoch, stamp.seq)
        if numbers <= newest.get(where, (-1, -1)):
            out.append(stamp)
        else:
            newest[where] = numbers
    return out


def missing_numbers(stamps: Iterable[Stamp]) -> list[Stamp]:
    """Numbers nobody wrote. The first epoch of an instance is left out: its pairing events do not stay in the log."""
    numbers: dict[str, dict[int, set[int]]] = defaultdict(lambda: defaultdict(set))
    for stamp in stamps:
        numbers[stamp.instance_id][stamp.epoch].add(stamp.seq)
    return [
        Stamp(instance, "", epoch, seq)
        for instance, epochs in sorted(numbers.items())
        for epoch in sorted(epochs)[1:]
        for seq in range(1, max(epochs[epoch]))
        if seq not in epochs[epoch]
    ]


def overlapping(claims: Iterable[Claim]) -> list[Claim]:
    """Releases of one who was not the owner then; `claims` are in log order per partition."""
    owner: dict[int, str] = {}
    out = []
    for claim in claims:
        if claim.kind == "claim":
            owner[claim.partition] = claim.incarnation
        elif owner.get(claim.partition) == claim.incarnation:
            del owner[claim.partition]
        else:
            out.append(claim)
    return out
