"""The transactional loop: consume → collect → begin → produce → flush → offsets → commit, for any Processor.

Rules (facts/kafka.md, section 1; design, section 4):
- A batch is kept until its commit returned. After an abort the *same* records go out again with fresh group metadata,
  without those of partitions that were lost meanwhile.
- Every offset commit carries the claim; an offsets-only one each 1.5 s tells a zombie that it was fenced.
- A partition is owned only after a take-over (core.kafka.takeover) and its committed claim.
- Fenced or any other fatal error: the processor loses everything and `run()` raises Fenced.
- 20 s without a commit: the processor loses everything, and the partitions are taken over again from what is committed.
"""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Mapping

from confluent_kafka import KafkaException

from core.clock import Clock, SystemClock
from core.errors import Fenced
from core.faults import Faults
from core.kafka.clients import KafkaClients
from core.kafka.commits import AWAY, Commits
from core.kafka.fetch import Fetcher
from core.kafka.holdings import Holdings, Payload, marked
from core.kafka.members import static_members
from core.kafka.membership import Membership
from core.kafka.pace import Pace
from core.kafka.processor import Batch, Processor
from core.kafka.roles import PartitionRole, Roles
from core.kafka.standby import Standby
from core.kafka.takeover import Group, TakeOver
from core.kafka.topic_admin import copartitioned
from core.kafka.transaction import Away, Left, Transactions, raise_if_fatal
from core.kafka.wakeup import Wakeup
from core.settings import Settings
from core.telemetry import metrics as names
from core.telemetry.health import Check
from core.telemetry.logs import get_logger
from core.telemetry.metrics import Metrics
from core.topics import BY_NAME, Topic

# Of the group's session time-out, which begins at the member's last heartbeat: those come ten times within it.
_LEASE_SHARE = 2 / 3
# Of a lease; by default that is no sooner than the pace says.
_KEEP_ALIVE_SHARE = 0.4
# How long the group may take to say who is in it.
_MEMBERS_S = 2.0


class TransactionLoop:
    """`run()` in one thread; `wakeup()` and `stop()` from any thread or signal handler.

    `lease` hears, at least twice within each lease, until when (monotonic seconds) the group gives nothing of this slot to
    another one. A newer process of the same slot, or `--leave`, does not wait for that.
    """

    def __init__(
        self,
        processor: Processor,
        settings: Settings,
        *,
        slot: str,
        session_timeout_ms: int = 6000,
        clock: Clock | None = None,
        metrics: Metrics | None = None,
        topics: Mapping[str, Topic] = BY_NAME,
        faults: Faults | None = None,
        pace: Pace | None = None,
        standby: bool = False,
        lease: Callable[[float], None] = lambda _until: None,
    ) -> None:
        prefix = settings.kafka.prefix
        group = prefix + processor.name
        self._processor = processor
        self._clock = SystemClock() if clock is None else clock
        self._metrics = Metrics() if metrics is None else metrics
        self._pace = Pace() if pace is None else pace
        self._log = get_logger(__name__).bind(processor=processor.name)
        self._clients = KafkaClients(settings.kafka, f"wharf-{processor.name}-{slot}")
        self._group = Group(group, prefix, slot, lambda of: f"{group}.{of}")
        self._faults = faults or Faults()
        self._fetcher = Fetcher(self._clients.fetcher(group), prefix, frozenset(processor.table_topics))
        member = self._clients.member(group, slot, session_timeout_ms)
        self._membership = Membership(member, prefix + processor.input_topic, self)
        lease_s = session_timeout_ms / 1000 * _LEASE_SHARE
        self._commits = Commits(
            Transactions(
                lambda: self._clients.transactional_producer(self._group.fence_id(slot)),
                prefix,
                self._faults,
                self._clock,
            ),
            self._membership.metadata,
            processor.name,
            clock=self._clock,
            metrics=self._metrics,
            pace=self._pace,
            on_confirmed=lambda at: lease(at + lease_s),
        )
        self._keep_alive = min(self._pace.keep_alive, lease_s * _KEEP_ALIVE_SHARE)
        self._incarnation = f"{self._clock.now_ms()}-{id(self):x}"
        self._holdings = Holdings(
            prefix=prefix,
            input_topic=processor.input_topic,
            state_topic=marked(processor.state_topic, topics),
            slot=slot,
            incarnation=self._incarnation,
        )
        self._standby: Standby | None = None
        if standby and processor.state_topic is not None:
            state_topic = prefix + processor.state_topic
            self._standby = Standby(
                self._clients, group, state_topic, processor.name, clock=self._clock, metrics=self._metrics
            )
        self._partition_count = 0
        self._roles = Roles(processor.name, processor.input_topic, self._metrics)
        self._takeovers: list[TakeOver] = []
        self._inflight: Batch = {}
        self._wakeup = Wakeup()
        self._running = False
        self._has_owned = False
        self._stopping = False
        # The group has dropped this member, or it cannot tell: until the next assignment it is not one.
        self._outside = False
        self._next_tick = 0.0
        self._next_takeover = 0.0
        self._next_lag = 0.0

    # --- for other threads -------------------------------------------------------------------------------------------

    def wakeup(self) -> None:
        """Make the loop call `collect` at once."""
        self._wakeup.set()

    def stop(self) -> None:
        """Let `run()` commit, release and return."""
        self._commits.end_within(self._pace.stop)
        self._stopping = True
        self._wakeup.set()

    def health(self) -> Check:
        """Healthy while commits succeed; a loop without partitions has nothing to commit."""
        trouble = self._commits.trouble
        if not self._running:
            return Check(False, f"not running: {trouble}" if trouble else "not running")
        silent = self._clock.monotonic() - self._commits.answered
        late = f"no commit for {silent:.0f} s: {trouble or AWAY}" if silent > self._pace.late else ""
        if self._takeovers:
            return Check(False, late or "taking over partitions")
        if self._outside:
            return Check(False, late or "not in the group, joining again")
        if len(self._holdings) and late:
            return Check(False, late)
        return Check(True, f"{len(self._holdings)} partitions owned")

    def roles(self) -> tuple[PartitionRole, ...]:
        """What this process is to each partition."""
        mine = {role.partition: role for role in self._roles.rows}
        followed = {} if self._standby is None else {role.partition: role for role in self._standby.rows()}
        return tuple(role for _, role in sorted({**followed, **mine}.items()))

    # --- life --------------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Until `stop()`; raises Fenced when this slot belongs to another process."""
        try:
            if self._start():
                while not self._stopping:
                    self._turn()
                self._hand_over(set(self._membership.assigned), self._commits.deadline(self._pace.stop))
            self._fetcher.close()
            self._membership.close()
            self._log.info("loop_stopped")
        except KafkaException as cause:
            self._lose_everything()
            raise_if_fatal(cause)
            raise
        except BaseException:
            self._lose_everything()
            raise
        finally:
            if self._standby is not None:
                self._standby.stop()
            self._running = False

    def _start(self) -> bool:
        """Fence the previous incarnation, then join; False when stopped before."""
        self._log.info("loop_starts", slot=self._group.slot, incarnation=self._incarnation)
        processor = self._processor
        topics = [processor.input_topic, *processor.side_topics, *processor.table_topics]
        topics += [] if processor.state_topic is None else [processor.state_topic]
        while not self._stopping:
            try:
                self._partition_count = copartitioned(self._clients, topics)
                self._commits.start()
            except Away:
                self._commits.trouble = AWAY
                self._log.warning("kafka_away", doing="init_transactions")
            except KafkaException as cause:
                raise_if_fatal(cause)
                self._commits.trouble = f"{AWAY} ({cause.args[0].name()})"
                self._log.warning("kafka_away", doing="start", kafka_error=cause.args[0].name())
                self._wakeup.wait(self._pace.takeover_retry)
            else:
                self._membership.join()
                self._next_lag = self._clock.monotonic() + self._pace.lag
                self._running = True
                return True
        return False

    def _turn(self) -> None:
        self._membership.serve(0)
        self._advance_takeover()
        busy = self._fetcher.fetch(self._pace.batch)
        now = self._clock.monotonic()
        full = self._fetcher.buffered >= self._pace.batch
        if len(self._holdings) and (full or now >= self._commits.next_work):
            busy |= self._take_tables()
            if busy or self._wakeup.is_set or self._fetcher.buffered or now >= self._next_tick:
                self._collect(now)
            if now - self._commits.confirmed >= self._keep_alive:
                self._commits.commit("keepalive", self._holdings.keep_alive(), self._commits.until_give_up)
                self._give_up_if_away()
        if now >= self._next_lag:
            self._next_lag = now + self._pace.lag
            self._publish_roles()
            self._start_standby()
        if not self._takeovers or now < self._next_takeover:
            self._rest(busy)

    def _rest(self, busy: bool) -> None:
        """Kafka has no way to wake this thread, so a rest is never longer than a few milliseconds."""
        gate = self._commits.next_work - self._clock.monotonic()
        if gate > 0 and (self._fetcher.buffered or self._wakeup.is_set):
            time.sleep(min(gate, self._pace.idle))
        elif not busy:
            self._wakeup.wait(self._pace.idle)

    def _take_tables(self) -> bool:
        records = self._fetcher.take_tables()
        for record in records:
            self._processor.table(record)
        return bool(records)

    def _collect(self, now: float) -> None:
        self._wakeup.clear()
        self._next_tick = now + self._pace.tick
        records = self._fetcher.take(self._pace.batch, self._pace.batch_bytes)
        for topic, count in Counter(record.topic for record in records).items():
            self._metrics.counter(names.CONSUMED).labels(self._processor.name, topic).inc(count)
        batch = self._processor.collect(records, self._clock.now_ms())
        if batch:
            self._holdings.validate(batch)
            self._inflight = batch
            self._finish_batch(self._commits.until_give_up)
            self._give_up_if_away()

    # --- transactions ------------------------------------------------------------------------------------------------

    def _finish_batch(self, left: Left) -> None:
        """Commit the batch in flight, the same records after every abort, until it is done or the time is up."""
        while self._inflight:
            if self._commits.work(self._inflight, lambda: self._holdings.work(self._inflight), left):
                batch, self._inflight = self._inflight, {}
                self._holdings.applied(batch)
                self._processor.committed(tuple(batch))
            elif left() > 0:
                # Callbacks run here: they may finish the batch, or take lost partitions out of it.
                self._membership.serve(self._pace.retry)
            else:
                return

    # --- take-over ---------------------------------------------------------------------------------------------------

    def _take_over(self, partitions: set[int]) -> None:
        if partitions:
            job = TakeOver(
                partitions,
                clients=self._clients,
                member=self._membership.consumer,
                processor=self._processor,
                group=self._group,
                clock=self._clock,
                faults=self._faults,
                standby=self._standby,
            )
            self._takeovers.append(job)
            self._publish_roles()

    def _advance_takeover(self) -> None:
        """One slice of the first take-over; when all is restored, the claim."""
        if not self._takeovers or self._clock.monotonic() < self._next_takeover:
            return
        job = self._takeovers[0]
        try:
            # What is pending must have ended before committed() is asked and the state is read.
            self._commits.settle(self._commits.deadline(1.0))
            restored = job.run(self._pace.takeover_slice)
        except Away:
            return
        except KafkaException as cause:
            raise_if_fatal(cause)
            self._commits.trouble = f"{AWAY} ({cause.args[0].name()})"
            self._log.warning("takeover_failed", kafka_error=cause.args[0].name(), partitions=sorted(job.partitions))
            self._next_takeover = self._clock.monotonic() + self._pace.takeover_retry
            partitions = set(job.partitions)
            self._cancel_takeovers(partitions)
            self._take_over(partitions)
            return
        if restored:
            self._faults.reach("after_restore")
            self._claim(job)

    def _claim(self, job: TakeOver) -> None:
        payload = Payload([], [])
        for partition, restored in job.partitions.items():
            records, offsets = self._holdings.claim(partition, restored.positions, restored.written)
            payload.records.extend(records)
            payload.offsets.extend(offsets)
        try:
            if not self._commits.commit("claim", payload, self._commits.deadline(self._pace.give_up)):
                # Tried again in the next turn, for what is left of it after the callbacks.
                return
        except Fenced:
            if self._has_owned or not self._has_the_slot():
                raise
            # Another's take-over fenced the slot for what its former process had claimed: there is nothing to tear down.
            self._log.warning("fenced_before_owning", partitions=sorted(job.partitions))
            # When Kafka does not answer now, the next commit begins with it.
            with contextlib.suppress(Away):
                self._commits.renew()
            return
        self._has_owned = True
        self._faults.reach("after_claim")
        self._takeovers.remove(job)
        for partition, restored in job.partitions.items():
            self._holdings.add(partition, restored.positions)
            self._fetcher.add({**restored.positions, **restored.tables})
            self._processor.owned(partition, dict(restored.positions))
            if self._standby is not None:
                self._standby.own(partition)
        took = self._clock.monotonic() - job.started
        self._metrics.histogram(names.TAKEOVER_SECONDS).labels(self._processor.name).observe(took)
        self._publish_roles()
        for source, count in (("log", job.from_log), ("standby", job.from_standby)):
            self._metrics.counter(names.RESTORED).labels(self._processor.name, source).inc(count)
        self._log.info(
            "claimed",
            partitions=sorted(job.partitions),
            seconds=round(took, 3),
            from_log=job.from_log,
            from_standby=job.from_standby,
        )

    def _has_the_slot(self) -> bool:
        """The group knows this process by it. A newer process of the slot is in the group by now, or fences once more."""
        try:
            members = static_members(self._clients, self._group.group, _MEMBERS_S)
        except KafkaException as cause:
            self._log.warning("kafka_away", doing="describe_group", kafka_error=cause.args[0].name())
            return False
        return members.get(self._group.slot) == self._membership.member_id()

    def _cancel_takeovers(self, partitions: set[int]) -> None:
        for job in list(self._takeovers):
            for partition in partitions:
                if job.drop(partition):
                    self._processor.lost(partition)
                    self._follow(partition)
            if not job.partitions:
                job.close()
                self._takeovers.remove(job)
        self._publish_roles()

    # --- the group changes (called by Membership) --------------------------------------------------------------------

    def assigned(self, partitions: set[int]) -> None:
        """Reading happens outside of the callback, in slices: the group does not wait for it."""
        self._commits.heard()
        self._holdings.member = self._membership.member_id()
        self._outside = False
        self._take_over(partitions)

    def revoked(self, partitions: set[int]) -> None:
        self._hand_over(partitions, self._commits.deadline(self._pace.revoke))

    def lost(self, partitions: set[int]) -> None:
        self._outside = True
        self._cancel_takeovers(partitions)
        if partitions & self._holdings.partitions:
            # Whoever took them over has fenced this slot: then it ends here, before it joins again.
            left = self._commits.deadline(self._pace.probe)
            while not self._commits.commit("keepalive", self._holdings.keep_alive(), left):
                if self._commits.by_the_group or left() <= 0:
                    break
                self._membership.serve(self._pace.retry)
        for partition in partitions & self._holdings.partitions:
            self._lose(partition, "lost")

    def _hand_over(self, partitions: set[int], left: Left) -> None:
        """1. finish the batch in flight  2. write release marks  3. tell the processor; one deadline for all."""
        self._cancel_takeovers(partitions)
        mine = partitions & self._holdings.partitions
        if not mine:
            return
        self._finish_batch(left)
        for partition in mine & set(self._inflight):
            self._drop(partition, "revoked")
        while left() > 0 and not self._commits.commit("release", self._holdings.release(mine), left):
            self._membership.serve(self._pace.retry)
            mine &= self._holdings.partitions
        self._faults.reach("after_release")
        for partition in mine:
            self._forget(partition)
            self._processor.revoked(partition)

    def _drop(self, partition: int, reason: str) -> None:
        if self._inflight.pop(partition, None) is not None:
            self._metrics.counter(names.DROPPED).labels(self._processor.name, reason).inc()
            self._processor.dropped(partition)

    def _lose(self, partition: int, reason: str) -> None:
        self._drop(partition, reason)
        self._forget(partition)
        self._processor.lost(partition)

    def _forget(self, partition: int) -> None:
        self._holdings.remove(partition)
        self._fetcher.remove(partition)
        self._follow(partition)
        self._publish_roles()

    def _follow(self, partition: int) -> None:
        if self._standby is not None:
            self._standby.follow(partition)

    def _start_standby(self) -> None:
        """Not before the first assignment has come, or should have: what is taken over at the start is read once."""
        if self._standby is not None and not self._standby.started:
            mine = self._holdings.partitions.union(*(job.partitions for job in self._takeovers))
            self._standby.start(set(range(self._partition_count)) - mine)

    def _give_up_if_away(self) -> None:
        """Too long without a commit: everything is torn down and taken over again from what is committed."""
        if self._stopping or not len(self._holdings) or self._commits.until_give_up() > 0:
            return
        partitions = set(self._holdings.partitions)
        self._log.error("gave_up", seconds=self._pace.give_up, partitions=sorted(partitions))
        for partition in partitions:
            self._lose(partition, "no_commit")
        self._commits.abandon()
        self._commits.last = self._clock.monotonic()
        self._take_over(partitions & self._membership.assigned)

    def _lose_everything(self) -> None:
        """The end of this process: nothing may leave it any more."""
        for partition in self._holdings.partitions:
            self._drop(partition, "fatal")
            self._holdings.remove(partition)
            self._processor.lost(partition)
        for job in self._takeovers:
            for partition in job.partitions:
                self._processor.lost(partition)
        self._takeovers.clear()

    def _publish_roles(self) -> None:
        taking_over = [partition for job in self._takeovers for partition in job.partitions]
        self._roles.publish(self._holdings, taking_over, self._fetcher.end)
