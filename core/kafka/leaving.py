"""A slot given up for good: its place in the group and its claims go to whoever remains, without waiting for a time-out.

1. Unless the group has forgotten the slot while others went on: then there is nothing to give up, and joining would only
   take partitions away from them. 2. Fence: a process that still runs under the slot ends. 3. Join as the slot, which gives
back what it had. 4. Release marks over the claims that are its own. 5. Unsubscribe and close, which leaves even as a static
member (facts/kafka.md, section 1, rule 10). State is not read: what is under way is in it, for the next owner.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from confluent_kafka import Consumer, KafkaException, TopicPartition

from core.clock import Clock
from core.errors import DBError
from core.faults import Faults
from core.kafka.clients import KafkaClients
from core.kafka.holdings import Holdings, Source
from core.kafka.marks import Mark, decode_mark
from core.kafka.members import static_members
from core.kafka.membership import Membership
from core.kafka.transaction import Aborted, Away, Left, Transactions
from core.settings import KafkaSettings
from core.telemetry.logs import get_logger

_CALL_S = 5.0
_SERVE_S = 0.05
# Shorter than a member's: nothing is owned, and a leave that is broken off is to be forgotten soon.
_SESSION_MS = 6_000


@dataclass(frozen=True, slots=True)
class Processing:
    """The names of a processor, as in core.kafka.processor; `state_topic` only if marks stand in it."""

    name: str
    input_topic: str
    side_topics: Sequence[str]
    state_topic: str | None


class _Assigned:
    """Reactions of a member that works on nothing."""

    def __init__(self) -> None:
        self.partitions: set[int] | None = None

    def assigned(self, partitions: set[int]) -> None:
        self.partitions = (self.partitions or set()) | partitions

    def revoked(self, partitions: set[int]) -> None:
        self.partitions = (self.partitions or set()) - partitions

    lost = revoked


def leave(processing: Processing, settings: KafkaSettings, slot: str, *, clock: Clock, seconds: float = 30.0) -> bool:
    """True once the slot has left, False when it was no member any more; DBError when that could not be done in time."""
    log = get_logger(__name__)
    clients = KafkaClients(settings, f"wharf-{processing.name}-{slot}-leaving")
    group = settings.prefix + processing.name
    end = clock.monotonic() + seconds

    def left() -> float:
        return end - clock.monotonic()

    try:
        members = static_members(clients, group, _CALL_S)
        if members and slot not in members:
            log.info("leave_not_needed", slot=slot, members=sorted(members))
            return False
        transactions = Transactions(
            lambda: clients.transactional_producer(f"{group}.{slot}"), settings.prefix, Faults(), clock
        )
        transactions.start(left)
        reactions = _Assigned()
        membership = Membership(
            clients.member(group, slot, _SESSION_MS), settings.prefix + processing.input_topic, reactions
        )
        membership.join()
        released = _release(processing, settings.prefix, slot, clock, membership, reactions, transactions, left)
        membership.leave(left)
    except (Away, KafkaException) as cause:
        raise DBError("db.kafka_unavailable", f"the slot {slot} could not leave: {cause}") from cause
    log.info("left_for_good", slot=slot, released=sorted(released))
    return True


def _release(
    processing: Processing,
    prefix: str,
    slot: str,
    clock: Clock,
    membership: Membership,
    reactions: _Assigned,
    transactions: Transactions,
    left: Left,
) -> frozenset[int]:
    """Partitions that carry this slot's claim; positions stay as they are."""
    while left() > 0:
        membership.serve(_SERVE_S)
        if reactions.partitions is None:
            continue
        mine = _claimed(processing, prefix, slot, membership.consumer, reactions.partitions)
        holdings = Holdings(
            prefix=prefix,
            input_topic=processing.input_topic,
            state_topic=processing.state_topic,
            slot=slot,
            incarnation=f"{clock.now_ms()}-leaving",
        )
        for partition, positions in mine.items():
            holdings.add(partition, positions)
        try:
            if mine:
                transactions.run(*holdings.release(mine), membership.metadata(), left, work=False)
        except Aborted:
            # The group moves on: what is left of it is asked for again.
            continue
        return holdings.partitions
    raise Away


def _claimed(
    processing: Processing, prefix: str, slot: str, member: Consumer, partitions: set[int]
) -> Mapping[int, Mapping[Source, int]]:
    """The positions of those partitions that this slot claimed last."""
    topics = (processing.input_topic, *processing.side_topics)
    wanted = [TopicPartition(prefix + topic, partition) for topic in topics for partition in partitions]
    positions: dict[int, dict[Source, int]] = {}
    marks: dict[int, Mark | None] = {}
    for entry in member.committed(wanted, _CALL_S) if wanted else []:
        if entry.error is not None:
            raise KafkaException(entry.error)
        topic = str(entry.topic).removeprefix(prefix)
        if entry.offset >= 0:
            positions.setdefault(entry.partition, {})[topic, entry.partition] = entry.offset
        if topic == processing.input_topic:
            marks[entry.partition] = decode_mark(entry.metadata)
    return {
        partition: at
        for partition, at in positions.items()
        if (mark := marks.get(partition)) is not None and (mark.kind, mark.slot) == ("claim", slot)
    }
