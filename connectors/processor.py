"""The connector as a stream processor: owns the instances of its partitions, drives their sessions, keeps their
commands.

Everything of one turn (events, changed items, results, positions) is one transaction of the loop; what rests on it
happens in `committed`: frames are released, commands handed to the host, sessions opened (design, invariants 1 to 8).
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from connectors import amend
from connectors.commands import hand_over, parser
from connectors.driver import Driver
from connectors.handlers.send import conclude
from connectors.health import Overview
from connectors.intake import Intake
from connectors.journal import Journal
from connectors.lifecycle import ROTATION, Jitter, Lifecycle
from connectors.sends import MARKS, MESSAGES, Outgoing
from connectors.session import DEFAULT_FOLLOW_UP_MS, Phase, Session
from connectors.state_items import ARCHIVE, OWN, data_key_record_key, split_key
from connectors.state_items import open_all as open_items
from connectors.state_reader import StateReader
from core.clock import Clock, SetBack
from core.errors import DBError, PoisonError
from core.faults import Faults
from core.kafka.codec import Codec
from core.kafka.deadletter import dead_letter
from core.kafka.processor import Batch, InRecord, OutRecord, PartitionWork
from core.security.keyring import Keyring
from core.telemetry.logs import get_logger
from core.telemetry.metrics import HOST_BACKLOG_BYTES, INBOUND_SECONDS, Metrics

COMMANDS = "commands.admitted"
INSTANCES = "instances"
OVERVIEW_MS = 500
# A session looks again at least this often: a timer for each deadline of a day would outlive its command by that day.
WAKE_WITHIN_MS = 60_000
# Sessions torn down with their partition come back spread over this time, not all in one instant.
RETURN_SPREAD_MS = 5_000


@dataclass(slots=True)
class _Share:
    """What one session had in the batch in flight."""

    session: Session
    number: int
    position: int
    bytes: int
    ended: int
    received_ms: int
    told: set[str]


@dataclass(slots=True)
class _Partition:
    sessions: dict[str, Session] = field(default_factory=dict)
    restored: dict[str, dict[bytes, bytes]] = field(default_factory=dict)
    shares: list[_Share] = field(default_factory=list)
    dead: list[OutRecord] = field(default_factory=list)
    owned: bool = False


class ConnectorProcessor:
    """Implements core.kafka.processor.Processor. One thread; the driver and the state reader have their own."""

    name = "connector"
    input_topic = COMMANDS
    side_topics: Sequence[str] = ()
    table_topics: Sequence[str] = (INSTANCES,)
    state_topic = "sessions"

    def __init__(
        self,
        *,
        driver: Driver,
        codec: Codec,
        keyring: Keyring,
        reader: StateReader,
        clock: Clock,
        metrics: Metrics,
        jitter: Jitter,
        wakeup: Callable[[], None],
        overview: Overview,
        faults: Faults,
        simulator_enabled: bool,
        follow_up_ms: int = DEFAULT_FOLLOW_UP_MS,
    ) -> None:
        self._driver = driver
        self._codec = codec
        self._keyring = keyring
        self._reader = reader
        self._follow_up_ms = follow_up_ms
        self._clock = clock
        self._metrics = metrics
        self._wakeup = wakeup
        self._overview = overview
        self._overview_at = 0
        self._faults = faults
        self._parse = parser(codec, keyring.message_id_secret)
        self._partitions: dict[int, _Partition] = {}
        self._numbers: dict[int, Session] = {}
        self._timers: list[tuple[int, int, Session]] = []
        self._timer_count = 0
        self._set_back = SetBack()
        # Sessions that need a step in the next turn.
        self._due: set[Session] = set()
        # Partitions that this process has lost; their sessions were torn down while they were online.
        self._torn: set[int] = set()
        self._jitter = jitter
        self._lifecycle = Lifecycle(
            driver, keyring, reader.request, self._wake_at, jitter, faults, simulator_enabled=simulator_enabled
        )
        self._journal = Journal(driver, self._lifecycle, self._numbers)
        self._intake = Intake(driver, keyring.message_id_secret)

    def sessions(self) -> Iterator[Session]:
        """All sessions of owned partitions."""
        for partition in self._partitions.values():
            if partition.owned:
                yield from partition.sessions.values()

    # ------------------------------------------------------------------ the life of a partition

    def restore(self, partition: int, key: bytes, value: bytes | None) -> None:
        instance_id, _ = split_key(key)
        records = self._partition(partition).restored.setdefault(instance_id, {})
        if value is None:
            records.pop(key, None)
        else:
            records[key] = value

    def table(self, record: InRecord) -> None:
        where = self._partition(record.partition)
        instance_id = (record.key or b"").decode()
        try:
            instance = None if record.value is None else self._codec.decode(INSTANCES, record.value)
        except PoisonError as poison:
            get_logger(__name__).error("instance_poison", instance_id=instance_id, offset=record.offset, error=poison)
            self._bury(record, poison, self._clock.now_ms())
            return
        session = where.sessions.get(instance_id)
        if session is None:
            if instance is None:
                return
            session = where.sessions[instance_id] = self._new_session(instance_id, record.partition)
        session.instance = instance
        session.known_gone = instance is None
        self._due.add(session)

    def owned(self, partition: int, positions: dict[tuple[str, int], int]) -> None:  # noqa: ARG002  (the loop has them)
        where = self._partition(partition)
        where.owned = True
        restored, where.restored = where.restored, {}
        for instance_id, records in restored.items():
            if not records:
                continue
            session = where.sessions.get(instance_id)
            if session is None:
                session = where.sessions[instance_id] = self._new_session(instance_id, partition)
                # The table was read to its end: the instance went while this process was away.
                session.known_gone = True
            self._restore(session, records)
        if partition in self._torn:
            self._torn.discard(partition)
            now_ms = self._clock.now_ms()
            for session in where.sessions.values():
                session.open_at_ms = now_ms + int(self._jitter() * RETURN_SPREAD_MS)
        self._due.update(where.sessions.values())
        get_logger(__name__).info("partition_owned", partition=partition, instances=len(where.sessions))

    def revoked(self, partition: int) -> None:
        self._drop(partition, "handed over")

    def lost(self, partition: int) -> None:
        where = self._partitions.get(partition)
        if where is not None and where.owned:
            self._torn.add(partition)
            self._overview.lost(where.sessions.values())
        self._drop(partition, "partition lost")

    # ------------------------------------------------------------------ a turn

    def collect(self, records: Sequence[InRecord], now_ms: int) -> Batch:
        batch: Batch = {}
        by_ms = self._set_back.by(now_ms)
        if by_ms:
            self._clock_was_set_back(by_ms)
        # Until its partition is owned a session is not restored, and nothing it would do now is true.
        due, self._due = {session for session in self._due if self._is_owned(session)}, set()
        while self._timers and self._timers[0][0] <= now_ms:
            session = heapq.heappop(self._timers)[2]
            # A timer may outlive its session: another of the same name may be there by now.
            if self._find(session.partition, session.instance_id) is session:
                due.add(session)
        for loaded in self._reader.take():
            found = self._find(loaded.partition, loaded.instance_id)
            if found is not None:
                self._lifecycle.loaded(found, loaded, now_ms)
                due.add(found)
        self._journal.receive(self._driver.take())
        due |= self._journal.fill(now_ms)
        # Every command in memory was committed as QUEUED: the host gets them before new ones come in.
        for session in due:
            self._hand_out(session, now_ms)
        for record in records:
            due |= self._take_command(record, now_ms)
            work = batch.setdefault(record.partition, PartitionWork())
            work.positions[(record.topic, record.partition)] = record.offset + 1
        for session in due:
            self._settle(session, now_ms)
            self._add(batch, session)
            if session.gone and session.instance is None:
                self._partition(session.partition).sessions.pop(session.instance_id, None)
        self._add_dead(batch)
        if self._journal.has_more:
            self._wakeup()
        if now_ms >= self._overview_at:
            self._overview_at = now_ms + OVERVIEW_MS
            self._overview.update(self.sessions(), now_ms)
            self._metrics.gauge(HOST_BACKLOG_BYTES).set(self._journal.backlog_bytes)
        return batch

    def committed(self, partitions: Sequence[int]) -> None:
        now_ms = self._clock.now_ms()
        shares: list[_Share] = []
        for number in partitions:
            where = self._partitions.get(number)
            if where is not None:
                shares += where.shares
                where.shares = []
        self._reach_faults(shares)
        self._driver.durable([(share.number, share.position) for share in shares if share.position])
        self._driver.credit([(share.number, share.bytes) for share in shares if share.bytes])
        if any(share.position for share in shares):
            self._faults.reach("after_durable")
        inbound = self._metrics.histogram(INBOUND_SECONDS)
        for share in shares:
            session = share.session
            if share.ended:
                self._driver.forget(share.ended)
            if share.received_ms:
                inbound.observe(max(0, now_ms - share.received_ms) / 1000)
            if session.phase is Phase.CLAIMING:
                self._faults.reach("before_open")
                number = self._lifecycle.claimed(session)
                self._numbers[number] = session
            self._hand_out(session, now_ms)
            self._wake_for(session, now_ms)

    def dropped(self, partition: int) -> None:
        where = self._partitions.get(partition)
        if where is not None:
            where.shares = []

    # ------------------------------------------------------------------ inside

    def _take_command(self, record: InRecord, now_ms: int) -> set[Session]:
        """The session that got it; none when the key, which only the limiter should have written, names no instance."""
        key = record.key or b""
        if not key or not key.isascii():
            self._bury(record, PoisonError("api.validation", "the key is no instance id"), now_ms)
            return set()
        session = self._session(key.decode(), record.partition)
        self._intake.take(session, record, now_ms)
        return {session}

    def _bury(self, record: InRecord, poison: PoisonError, now_ms: int) -> None:
        self._partition(record.partition).dead.append(
            dead_letter(
                record,
                poison.code,
                poison.message,
                poison.field,
                1,
                now_ms,
                encoder=self._codec,
                process=self.name,
            )
        )

    def _partition(self, partition: int) -> _Partition:
        return self._partitions.setdefault(partition, _Partition())

    def _is_owned(self, session: Session) -> bool:
        where = self._partitions.get(session.partition)
        return where is not None and where.owned

    def _find(self, partition: int, instance_id: str) -> Session | None:
        where = self._partitions.get(partition)
        return where.sessions.get(instance_id) if where is not None else None

    def _session(self, instance_id: str, partition: int) -> Session:
        where = self._partition(partition)
        session = where.sessions.get(instance_id)
        if session is None:
            session = where.sessions[instance_id] = self._new_session(instance_id, partition)
        return session

    def _new_session(self, instance_id: str, partition: int) -> Session:
        session = Session(instance_id, partition, self._codec, self._metrics)
        session.stored = []
        session.follow_up_ms = self._follow_up_ms
        return session

    def _restore(self, session: Session, records: dict[bytes, bytes]) -> None:
        """Own items are read now; the host's stay sealed until the session is opened."""
        wrapped = records.pop(data_key_record_key(session.instance_id), None)
        if wrapped is None:
            raise DBError("db.state_corrupt", "there is state but no data key", instance_id=session.instance_id)
        data_key = self._keyring.unwrap(session.instance_id, wrapped)
        session.use_key(data_key)
        own, stored = [], []
        for key, value in records.items():
            name = data_key.open(key.partition(b"\x00")[2].decode(), value)[0]
            if name.startswith(OWN):
                own.append((key, value))
            elif not name.startswith(ARCHIVE):
                stored.append((key, value))
        items = open_items(data_key, own)
        assert session.writer is not None
        session.writer.know(items)
        session.restore(items, self._parse)
        rotation = items.get(ROTATION)
        session.rotation = None if rotation is None else rotation.decode()
        session.stored = stored

    def _settle(self, session: Session, now_ms: int) -> None:
        """What the session owes in this turn: expiries, then where it is to go."""
        for told in session.queue.due(now_ms):
            conclude(session, told, now_ms)
        self._lifecycle.step(session, now_ms)

    def _add(self, batch: Batch, session: Session) -> None:
        """The session's share of the batch."""
        where = self._partitions.get(session.partition)
        if where is None or not where.owned:
            return
        if not session.gone and session.data_key is None and session.dirty:
            data_key = self._keyring.new_data_key(session.instance_id)
            session.use_key(data_key, self._keyring.wrap(data_key))
        records = session.flush()
        taken = session.next_position - 1 if session.taken_bytes else 0
        if not records and not taken and not session.ended:
            self._wake_for(session, self._clock.now_ms())
            return
        batch.setdefault(session.partition, PartitionWork()).records += records
        number = session.ended or session.number
        where.shares.append(
            _Share(session, number, taken, session.taken_bytes, session.ended, session.received_ms, session.told)
        )
        session.taken_bytes = session.ended = session.received_ms = 0
        session.told = set()

    def _add_dead(self, batch: Batch) -> None:
        for number, where in self._partitions.items():
            if where.owned and where.dead:
                batch.setdefault(number, PartitionWork()).records += where.dead
                where.dead = []

    def _hand_out(self, session: Session, now_ms: int) -> None:
        if session.phase is not Phase.OPEN or session.logout_deadline_ms is not None:
            return
        for command in session.queue.ready(now_ms, lambda each: _may(session, each)):
            late = amend.late_by_now(command, session.statuses, now_ms)
            if late is None:
                hand_over(self._driver, session.number, command, self._codec)
                continue
            told = session.queue.failed(command.command_id, late)
            if told is not None:
                conclude(session, told, now_ms)
                self._due.add(session)
                self._wakeup()

    def _wake_for(self, session: Session, now_ms: int) -> None:
        at = session.queue.wake_at(now_ms)
        if at is None:
            return
        at = min(at, now_ms + WAKE_WITHIN_MS)
        if session.wake_ms <= now_ms or at < session.wake_ms:
            session.wake_ms = at
            self._wake_at(session, at)

    def _wake_at(self, session: Session, at_ms: int) -> None:
        self._timer_count += 1
        heapq.heappush(self._timers, (at_ms, self._timer_count, session))

    def _clock_was_set_back(self, by_ms: int) -> None:
        """Timers ring when they would have, and every session looks again."""
        get_logger(__name__).warning("clock_set_back", by_ms=by_ms)
        # Subtracting the same from all keeps the heap in order.
        self._timers = [(at_ms - by_ms, number, session) for at_ms, number, session in self._timers]
        self._overview_at = 0
        for session in self.sessions():
            session.set_back(by_ms)
            self._due.add(session)

    def _drop(self, partition: int, reason: str) -> None:
        where = self._partitions.pop(partition, None)
        if where is None:
            return
        for session in where.sessions.values():
            if session.number:
                self._numbers.pop(session.number, None)
                self._driver.close(session.number, reason)
        gone = set(where.sessions.values())
        self._journal.drop(gone)
        self._due -= gone
        self._timers = [timer for timer in self._timers if timer[2] not in gone]
        heapq.heapify(self._timers)

    def _reach_faults(self, shares: list[_Share]) -> None:
        told = {state for share in shares for state in share.told}
        if "queued" in told:
            self._faults.reach("after_queued")
        if "sending" in told:
            self._faults.reach("after_sending")
        if told & {"sent", "done", "failed"}:
            self._faults.reach("after_final")
        if any(share.position for share in shares):
            self._faults.reach("before_durable")


def _may(session: Session, command: Outgoing) -> bool:
    """Whether the session is in a state in which the host can do this."""
    if command.type == "pair":
        return session.paired is False
    return session.online and command.type in (MESSAGES | MARKS | {"logout"})
