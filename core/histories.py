"""Order and ownership, told from histories: what came in which order, which record was written under which epoch.

Pure. Histories are sequences in the order of their log or ledger; `at` says where an entry stands, for people.

Order: per (instance, chat) messages leave a stage in the order in which they entered the one before it.
Epochs: the records of an instance in one topic have strictly growing (epoch, seq); a lower one is a stale owner's. Over all
topics none is written later than the first of a higher epoch, or than the claim that follows its owner's.
Sends: none leaves on a connection of an owner after the claim that follows its.
Numbers: seq counts every event of an epoch from 1 over all topics; a number that is missing is an event that is lost.
Marks: a claim comes after a fence and a read to the end, so who was overtaken without a release claims again only after it
has joined the group anew; a release is the owner's only; the position written with them never goes back.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import inf

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
    partition: int = 0
    at_ms: int = 0  # when it was written


@dataclass(frozen=True, slots=True)
class Claim:
    """An owner record of the state topic."""

    partition: int
    offset: int
    kind: MarkKind
    slot: str
    incarnation: str
    member: str = ""  # another one at each joining of the group
    at_ms: int = 0

    @property
    def at(self) -> str:
        return f"sessions[{self.partition}]@{self.offset}"


@dataclass(frozen=True, slots=True)
class Position:
    """A position item of the state topic: the next offset of an input topic, of the same partition."""

    partition: int
    offset: int
    topic: str
    next: int

    @property
    def at(self) -> str:
        return f"sessions[{self.partition}]@{self.offset}"


@dataclass(frozen=True, slots=True)
class Send:
    """WhatsApp accepted a message of an instance, on a connection on which it had logged in at `login_ms`."""

    instance_id: str
    partition: int
    id: str
    login_ms: int
    at_ms: int


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
    """Releases of one who was not the owner then, claims of one who had been overtaken and had not joined anew.

    `claims` are in log order per partition.
    """
    owner: dict[int, Claim] = {}
    overtaken: dict[int, set[tuple[str, str]]] = defaultdict(set)
    out = []
    for claim in claims:
        here, who = owner.get(claim.partition), (claim.incarnation, claim.member)
        if claim.kind == "claim":
            if who in overtaken[claim.partition]:
                out.append(claim)
                continue
            if here is not None and here.incarnation != claim.incarnation:
                overtaken[claim.partition].add((here.incarnation, here.member))
            owner[claim.partition] = claim
        elif here is not None and here.incarnation == claim.incarnation:
            del owner[claim.partition]
        else:
            out.append(claim)
    return out


def receding(positions: Iterable[Position]) -> list[Position]:
    """Positions below one that stood there before; in log order per partition."""
    newest: dict[tuple[int, str], int] = {}
    out = []
    for each in positions:
        where = (each.partition, each.topic)
        if each.next < newest.get(where, 0):
            out.append(each)
        else:
            newest[where] = each.next
    return out


class _Owners:
    """Who owned a partition at a time, and until when: up to the claim of another incarnation."""

    def __init__(self, claims: Iterable[Claim]) -> None:
        self._claims: dict[int, list[Claim]] = defaultdict(list)
        for claim in claims:
            if claim.kind == "claim":
                self._claims[claim.partition].append(claim)

    def until(self, partition: int, at_ms: int) -> float:
        """When the owner at that time was followed by another; infinite while it is not, or nobody is known to own it."""
        claims = self._claims[partition]
        number = bisect_right(claims, at_ms, key=lambda claim: claim.at_ms)
        if number == 0:
            return inf
        owner = claims[number - 1].incarnation
        return next((claim.at_ms for claim in claims[number:] if claim.incarnation != owner), inf)


def outlived(stamps: Sequence[Stamp], claims: Iterable[Claim]) -> list[Stamp]:
    """Records of an owner that were written after it was followed by another, in whatever topic."""
    first: dict[str, dict[int, Stamp]] = defaultdict(dict)
    for stamp in stamps:
        known = first[stamp.instance_id].get(stamp.epoch)
        if known is None or stamp.at_ms < known.at_ms:
            first[stamp.instance_id][stamp.epoch] = stamp
    owners, ends = _Owners(claims), dict[tuple[str, int], float]()
    for instance, epochs in first.items():
        end = inf
        for epoch in sorted(epochs, reverse=True):
            begin = epochs[epoch]
            ends[instance, epoch] = min(end, owners.until(begin.partition, begin.at_ms))
            end = min(end, begin.at_ms)
    return [stamp for stamp in stamps if stamp.at_ms > ends[stamp.instance_id, stamp.epoch]]


def needless(stamps: Iterable[Stamp], claims: Iterable[Claim], spans: Iterable[tuple[int, int]]) -> list[Stamp]:
    """First records of epochs that began within one of the spans (in ms) although their partition had not moved for them.

    A move is a claim, at whatever time after the first record of the epoch before, and opens each of the partition's sessions
    once.
    """
    first: dict[tuple[str, int], Stamp] = {}
    for stamp in stamps:
        known = first.setdefault((stamp.instance_id, stamp.epoch), stamp)
        if stamp.at_ms < known.at_ms:
            first[stamp.instance_id, stamp.epoch] = stamp
    claimed: dict[int, list[int]] = defaultdict(list)
    for claim in claims:
        if claim.kind == "claim":
            claimed[claim.partition].append(claim.at_ms)
    opened: dict[str, list[Stamp]] = defaultdict(list)
    for stamp in sorted(first.values(), key=lambda each: each.at_ms):
        opened[stamp.instance_id].append(stamp)
    spans = list(spans)
    return [
        stamp
        for ones in opened.values()
        for before, stamp in pairwise(ones)
        if any(begin <= stamp.at_ms <= end for begin, end in spans)
        and not any(before.at_ms < at_ms <= stamp.at_ms for at_ms in claimed[stamp.partition])
    ]


def late_sends(sends: Iterable[Send], claims: Iterable[Claim]) -> list[Send]:
    """Sends on a connection of an owner that another one's claim had followed."""
    owners = _Owners(claims)
    return [send for send in sends if send.at_ms > owners.until(send.partition, send.login_ms)]
