"""The sink's loop: records of Kafka into ClickHouse, each event once, over any crash.

A round takes the batches that are due and passes these steps; each may be repeated, and a process that dies between any two
leaves what the next one needs:
1. name: commit `pending` with the range of every batch, at its first offset, unless rollups are being rebuilt;
2. look again whether they are, and wait until that is over (analytics.gate has the rules and why they suffice);
3. insert: the rows of each range under its token (ClickHouse knows a token it has seen);
4. give up: what cannot be a row goes to the dead letters, with an id made of its place;
5. note: one line per batch, for the audit;
6. done: commit the position after every range.
Between rounds the position behind the last record is committed, where nothing is left to store.
While ClickHouse takes a batch, the next one of the round is decoded in a thread beside: nothing else happens there.
Only what was named is inserted, so that a range that perhaps was inserted is inserted again exactly so, or not at all.

Not thread-safe but for `stop` and `health`.
"""

from __future__ import annotations

import threading
import zlib
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor

from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from analytics.gate import View
from analytics.sink import ledger
from analytics.sink.batches import Limits, Partition, Source
from analytics.sink.decode import Decoded, decode
from analytics.sink.letters import Letters
from analytics.sink.positions import Positions
from analytics.sink.round import Round
from analytics.sink.rows import TOPICS
from analytics.sink.store import Inserted, Store
from core.clock import Clock
from core.errors import DBError, Fenced, WharfError
from core.faults import Faults
from core.kafka.clients import KafkaClients
from core.kafka.codec import Codec
from core.kafka.processor import InRecord
from core.settings import Settings
from core.telemetry import metrics as names
from core.telemetry.health import Check
from core.telemetry.logs import get_logger
from core.telemetry.metrics import Metrics

GROUP = "sink"
_BURST = 2000
_POLL_S = 0.05
_LAG_EVERY_S = 1.0
_PASS_EVERY_S = 1.0
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.2, 10.0
_BATCH_BYTES = 16 << 20
# How often a sink that is held looks at the gates.
_HELD_S = 0.2


def member_name(slot: str, prefix: str) -> str:
    """Kafka gives a static member that comes back what it had, even if it asks for other topics: those are in the name."""
    return f"{slot}.{zlib.crc32(' '.join(prefix + topic for topic in TOPICS).encode()):08x}"


class Sink:
    """`run()` returns after `stop()`; Fenced when another process took the slot."""

    def __init__(
        self, settings: Settings, *, codec: Codec, store: Store, metrics: Metrics, faults: Faults, clock: Clock
    ) -> None:
        self._settings = settings
        self._codec = codec
        self._store = store
        self._metrics = metrics
        self._faults = faults
        self._clock = clock
        self._clients = KafkaClients(settings.kafka, "wharf-sink")
        self._letters = Letters(self._clients, codec, clock)
        self._beside = ThreadPoolExecutor(1, thread_name_prefix="decode")
        own = settings.sink
        self._limits = Limits(own.batch_records, _BATCH_BYTES, own.batch_ms / 1000)
        self._most_bytes = own.buffer_mb << 20
        self._partitions: dict[Source, Partition] = {}
        self._done: dict[Source, int] = {}
        self._round: Round | None = None
        self._paused: set[Source] = set()
        self._wait_s = _FIRST_WAIT_S
        self._retry_at = 0.0
        self._lag_at = 0.0
        self._pass_at = 0.0
        self._lags: dict[Source, int] = {}
        self._trouble: str | None = None
        self._held = False
        self._joined = False
        self._stop = threading.Event()
        self._log = get_logger(__name__)

    def stop(self) -> None:
        self._stop.set()

    def kafka_health(self) -> Check:
        lag = sum(self._lags.values())
        return Check(self._joined, f"{len(self._partitions)} partitions, {lag} records behind")

    def clickhouse_health(self) -> Check:
        working = "held: rollups are rebuilt" if self._held else "takes inserts"
        return Check(self._trouble is None, self._trouble or working)

    def run(self) -> None:
        prefix = self._settings.kafka.prefix
        own = self._settings.sink
        self._consumer = self._clients.group_reader(GROUP, member_name(own.slot, prefix), own.session_timeout_ms)
        self._positions = Positions(self._clients, GROUP, self._consumer, prefix)
        try:
            self._consumer.subscribe(
                [prefix + topic for topic in TOPICS],
                on_assign=self._assigned,
                on_revoke=self._revoked,
                on_lost=self._revoked,
            )
            while not self._stop.is_set():
                self._read()
                self._work()
                self._pass(self._clock.monotonic())
                self._measure()
            self._pass_at = 0.0
            self._pass(self._clock.monotonic())
        finally:
            self._beside.shutdown(cancel_futures=True)
            self._letters.close()
            self._store.close()
            # A static member: its partitions wait for it.
            self._consumer.close()

    # -- the group

    def _assigned(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        prefix = self._settings.kafka.prefix
        for (topic, number), start in self._positions.starts(partitions).items():
            if start.gone:
                self._log.error("records_gone", topic=topic, partition=number, records=start.gone)
                self._metrics.counter(names.SINK_GONE).labels(topic).inc(start.gone)
            held = Partition(self._limits, start.replay)
            held.reached(start.position)
            self._partitions[topic, number] = held
            self._done[topic, number] = start.position
            consumer.incremental_assign([TopicPartition(prefix + topic, number, start.position)])
            if start.replay is not None:
                self._log.info("replays", batch=start.replay.token)
        self._joined = True

    def _revoked(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """What is under way is left as it is named: whoever has the partition next inserts it again."""
        prefix = self._settings.kafka.prefix
        for entry in partitions:
            source = (entry.topic.removeprefix(prefix), entry.partition)
            self._partitions.pop(source, None)
            self._done.pop(source, None)
            self._paused.discard(source)
            if self._round is not None:
                self._round.drop(source)
        consumer.incremental_unassign(partitions)

    # -- reading

    def _read(self) -> None:
        self._hold_back()
        busy = self._round is not None and self._clock.monotonic() >= self._retry_at
        first = self._consumer.poll(0 if busy else _POLL_S)
        if first is None:
            return
        now = self._clock.monotonic()
        taken = Counter(self._accept(message, now) for message in (first, *self._consumer.consume(_BURST, 0)))
        taken.pop("", None)
        for topic, count in taken.items():
            self._metrics.counter(names.CONSUMED).labels(GROUP, topic).inc(count)

    def _accept(self, message: Message, now: float) -> str:
        """The topic of a record that was taken."""
        topic = (message.topic() or "").removeprefix(self._settings.kafka.prefix)
        held = self._partitions.get((topic, int(message.partition() or 0)))
        fault = message.error()
        if fault is not None and fault.code() == KafkaError._PARTITION_EOF:
            if held is not None:
                held.reached(int(message.offset() or 0))
        elif fault is not None:
            self._refuse(message, fault)
        elif held is not None:
            held.add(_in_record(message, topic), now)
            return topic
        return ""

    def _refuse(self, message: Message, fault: KafkaError) -> None:
        if fault.fatal():
            raise Fenced(f"{fault.name()}: {fault.str()}")
        if fault.code() == KafkaError._AUTO_OFFSET_RESET:
            raise DBError("db.position_lost", f"{message.topic()}[{message.partition()}]: {fault.str()}")
        self._log.warning("kafka_fetch_error", kafka_error=fault.name(), detail=fault.str())

    def _hold_back(self) -> None:
        """Bounded memory: above the limit nothing more is read until half of it is inserted."""
        held = self._held_bytes()
        if held > self._most_bytes:
            # A range that was named must come in whole, however much it is.
            more = {source for source, one in self._partitions.items() if one.replay is None} - self._paused
            if more:
                self._consumer.pause(self._named(more))
                self._paused |= more
        elif self._paused and held < self._most_bytes // 2:
            self._consumer.resume(self._named(self._paused))
            self._paused.clear()

    def _held_bytes(self) -> int:
        under_way = 0 if self._round is None else self._round.bytes
        return under_way + sum(partition.bytes for partition in self._partitions.values())

    def _named(self, sources: Iterable[Source]) -> list[TopicPartition]:
        return [TopicPartition(self._settings.kafka.prefix + topic, number) for topic, number in sources]

    # -- the round

    def _work(self) -> None:
        now = self._clock.monotonic()
        if now < self._retry_at:
            return
        try:
            if self._round is None:
                self._round = self._due(now)
            finished = self._round is not None and self._step(self._round)
        except WharfError as cause:
            # Whatever ClickHouse says: the rows stay ours until it takes them.
            if self._trouble is None:
                self._log.warning("clickhouse_refuses", error=cause)
            self._trouble = cause.message
            self._back_off(now)
            return
        if finished:
            self._round = None

    def _due(self, now: float) -> Round | None:
        due = [source for source, held in self._partitions.items() if held.due(now)]
        # By themselves, and whether there is a gate or not: a rebuild waits for them.
        replays = [source for source in due if self._partitions[source].replay is not None]
        if due and not replays and self._gates(now).held:
            return None
        taken = {source: self._partitions[source].take() for source in replays or due}
        batches = {source: batch for source, batch in taken.items() if batch is not None}
        return Round(batches, set(replays)) if batches else None

    def _gates(self, now: float) -> View:
        """What rebuilds ask for; after one was seen the next look comes a little later."""
        view = self._store.gates()
        for one in view.broken:
            self._log.warning("rebuild_died", run_again=one.again)
        if view.held != self._held:
            self._held = view.held
            self._log.info("held_by_rebuild" if view.held else "goes_on_after_rebuild")
        if view.held:
            self._retry_at = now + _HELD_S
        return view

    def _step(self, work: Round) -> bool:
        """One step of the round; True when it is at its end."""
        if not work.batches:
            return True
        unnamed = work.batches.keys() - work.named
        if unnamed:
            self._faults.reach("before_pending")
            if self._commit({source: ledger.pending(work.batches[source].range) for source in unnamed}):
                work.named |= unnamed
                self._faults.reach("after_pending")
            return False
        if not work.may_insert:
            work.may_insert = not self._gates(self._clock.monotonic()).closed
            return False
        if waiting := work.waiting():
            self._insert(work, *waiting[:2])
            self._faults.reach("after_insert")
            return False
        if not work.noted:
            self._store.note(list(work.inserted.values()))
            work.noted = True
        self._faults.reach("before_done")
        if not self._commit({source: ledger.done(batch.range) for source, batch in work.batches.items()}):
            return False
        self._faults.reach("after_done")
        for source, batch in work.batches.items():
            self._done[source] = batch.range.last + 1
        return True

    def _insert(self, work: Round, source: Source, following: Source | None = None) -> None:
        batch, decoded = work.batches[source], self._decoded(work, source).result()
        if following is not None:
            self._decoded(work, following)
        if decoded.rows:
            decoded = decoded.without(self._store.elsewhere(batch.range, decoded.rows))
        if decoded.rows:
            with self._metrics.histogram(names.SINK_INSERT_SECONDS).time():
                self._store.insert(batch.range, decoded.rows)
        self._letters.send(decoded.poison)
        topic = batch.range.topic
        self._metrics.counter(names.SINK_ROWS).labels(topic).inc(len(decoded.rows))
        self._metrics.counter(names.SINK_DUPLICATES).labels(topic).inc(decoded.duplicates)
        for _, cause in decoded.poison:
            self._metrics.counter(names.DEAD_LETTERS).labels(GROUP, cause.code).inc()
        self._trouble = None
        self._wait_s = _FIRST_WAIT_S
        counts = (len(batch.records), len(decoded.rows), decoded.duplicates, len(decoded.poison))
        work.is_inserted(source, Inserted(batch.range, *counts))

    def _decoded(self, work: Round, source: Source) -> Future[Decoded]:
        """Begun now, or before; what failed (the registry was away) begins anew."""
        begun = work.decoded.get(source)
        if begun is None or (begun.done() and begun.exception() is not None):
            begun = self._beside.submit(decode, work.batches[source].records, self._codec)
            work.decoded[source] = begun
        return begun

    def _commit(self, entries: dict[Source, ledger.Entry]) -> bool:
        if self._positions.commit(entries):
            return True
        self._back_off(self._clock.monotonic())
        return False

    def _pass(self, now: float) -> None:
        """Commit what lies behind the last record, where all is stored: retention may delete it, and is then no loss."""
        if self._round is not None or now < max(self._pass_at, self._retry_at):
            return
        self._pass_at = now + _PASS_EVERY_S
        entries = {}
        for source, done in self._done.items():
            held = self._partitions[source]
            if held.replay is None and (position := held.position(done)) > done:
                entries[source] = ledger.passed(position)
        if entries and self._commit(entries):
            self._done |= {source: entry.position for source, entry in entries.items()}

    def _back_off(self, now: float) -> None:
        self._retry_at = now + self._wait_s
        self._wait_s = min(self._wait_s * 2, _LONGEST_WAIT_S)

    # -- telling

    def _measure(self) -> None:
        now = self._clock.monotonic()
        if now - self._lag_at < _LAG_EVERY_S:
            return
        self._lag_at = now
        positions = {source: self._partitions[source].position(done) for source, done in self._done.items()}
        measured = self._positions.lag(positions, ask=positions if self._paused else ())
        gauge = self._metrics.gauge(names.LAG)
        for topic, partition in self._lags.keys() - self._done.keys():
            gauge.remove(GROUP, topic, str(partition))
        self._lags = {source: lag for source, lag in (self._lags | measured).items() if source in self._done}
        for (topic, partition), lag in self._lags.items():
            gauge.labels(GROUP, topic, str(partition)).set(lag)
        self._metrics.gauge(names.SINK_BUFFER_BYTES).set(self._held_bytes())


def _in_record(message: Message, topic: str) -> InRecord:
    """Without its headers (analytics.sink.letters)."""
    key, value = message.key(), message.value()
    return InRecord(
        topic,
        int(message.partition() or 0),
        int(message.offset() or 0),
        int(message.timestamp()[1]),
        key.encode() if isinstance(key, str) else key,
        value.encode() if isinstance(value, str) else value,
    )
