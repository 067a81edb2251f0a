"""One Kafka transaction at a time: begin → produce → flush → offsets → commit, and what is left when that fails.

Three ends besides success: Aborted (nothing of it is visible, the same records may be tried again), Away (Kafka did not
answer in time and the outcome is open until `settle`), Fenced (the transactional id is somebody else's).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

from confluent_kafka import KafkaError, KafkaException, Producer, TopicPartition

from core.clock import Clock
from core.errors import DBError, Fenced
from core.faults import Faults
from core.kafka.patience import Patience, Stuck
from core.kafka.processor import OutRecord
from core.telemetry.logs import get_logger

# One blocking call never takes longer, so that a stop request is seen in time.
_SLICE_S = 1.0
# While a former transaction ends, librdkafka asks a coordinator only every 500 ms: a new producer asks at once.
ASK_AGAIN_S = (0.06, 0.09, 0.14, 0.2, 0.3)
# Each call takes milliseconds. After that the producer may not come back, though Kafka answers others, and is replaced.
_STUCK_S = 4.0

Left = Callable[[], float]


class Aborted(Exception):
    """The transaction is undone; `reason` is Kafka's name of the error, `detail` what its client says of it."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.detail = detail


class Away(Exception):
    """Kafka did not answer before the deadline."""


def _reason(cause: KafkaException) -> str:
    return str(cause.args[0].name())


def raise_if_fatal(cause: KafkaException) -> None:
    """A fatal error of a producer or a member means that this process may not go on."""
    if cause.args[0].fatal():
        raise Fenced(f"{_reason(cause)}: {cause.args[0].str()}") from cause


def _may_ask_again(cause: KafkaException) -> bool:
    return bool(cause.args[0].retriable() or cause.args[0].code() == KafkaError._TIMED_OUT)


class Transactions:
    """Owns the transactional producer. `left` tells the seconds that remain; it may shrink while a call runs."""

    def __init__(self, make_producer: Callable[[], Producer], prefix: str, faults: Faults, clock: Clock) -> None:
        self._make_producer = make_producer
        self._producer = make_producer()
        self._prefix = prefix
        self._faults = faults
        self._clock = clock
        # The group takes offsets of members only: at this time (monotonic) it had this process as one, if they were taken.
        self.offsets_sent = 0.0
        self._patience = Patience("send_offsets_to_transaction")
        self._open: Literal["commit", "abort", "renew"] | None = None
        # Seconds that calls to end the open abort have taken.
        self._aborting = 0.0
        self._log = get_logger(__name__)

    @property
    def unsettled(self) -> bool:
        """The end of the last transaction is not known yet."""
        return self._open is not None

    def start(self, left: Left) -> None:
        """Fence the previous incarnation of this slot and end what it left open."""
        for timeout in ASK_AGAIN_S:
            try:
                self._producer.init_transactions(min(timeout, _slice(left)))
            except KafkaException as cause:
                if not _may_ask_again(cause):
                    raise_if_fatal(cause)
                    raise
                self._producer = self._make_producer()
            else:
                return
        self._until_done(self._producer.init_transactions, left)

    def renew(self, left: Left) -> None:
        """Go on with a new producer after a fence, which must have hit nothing: see the loop's claim."""
        self._producer = self._make_producer()
        self._start_again(left)

    def abandon(self) -> None:
        """Leave what is open to Kafka, which tells what became of it before partitions are taken over."""
        if self._open in ("commit", "abort"):
            self._log.warning("producer_replaced", reason=f"{self._open} did not end")
            self._producer = self._make_producer()
            self._open = "renew"

    def settle(self, left: Left) -> bool:
        """End an unsettled transaction: True when it was committed after all."""
        if self._open == "commit":
            try:
                self._commit(left)
            except Aborted:
                return False
            return True
        if self._open == "abort":
            self._abort(left)
        elif self._open == "renew":
            self._start_again(left)
        return False

    def run(
        self,
        records: Sequence[OutRecord],
        offsets: Sequence[TopicPartition],
        group_metadata: object,
        left: Left,
        *,
        work: bool,
    ) -> None:
        """1. begin  2. produce  3. flush  4. offsets  5. commit. `work` makes it count for the injected faults."""
        if self._open is not None:
            raise DBError("db.kafka_unavailable", "the last transaction is not settled")
        if work:
            self._faults.reach("before_begin")
        try:
            self._producer.begin_transaction()
            for record in records:
                self._produce(record, left)
            # Without it an abort with unsent records breaks the next transaction (OUT_OF_ORDER_SEQUENCE_NUMBER).
            if "flush" not in self._faults.mutants:
                self._flush(left)
            self._send_offsets(list(offsets), group_metadata, left)
        except KafkaException as cause:
            raise_if_fatal(cause)
            self._abort(left)
            raise Aborted(_reason(cause), cause.args[0].str()) from cause
        except Stuck as cause:
            self._replace(str(cause), left)
            raise Aborted("STUCK") from None
        except Away:
            self._abort(left)
            raise Aborted("_TIMED_OUT") from None
        if work:
            self._faults.reach("before_commit")
            if self._faults.aborts():
                self._abort(left)
                raise Aborted("INJECTED")
        self._commit(left)
        if work:
            self._faults.reach("after_commit")

    def _produce(self, record: OutRecord, left: Left) -> None:
        # -1 lets the partitioner decide.
        partition = -1 if record.partition is None else record.partition
        while True:
            try:
                self._producer.produce(
                    self._prefix + record.topic,
                    key=record.key,
                    value=record.value,
                    headers=list(record.headers),
                    partition=partition,
                )
                return
            except BufferError:
                if left() <= 0:
                    raise Away from None
                self._producer.poll(0.05)

    def _flush(self, left: Left) -> None:
        waited = 0.0
        while self._producer.flush(timeout := _slice(left)):
            if left() <= 0:
                raise Away
            waited += timeout
            if waited >= _STUCK_S:
                raise Stuck("flush")

    def _send_offsets(self, offsets: list[TopicPartition], group_metadata: object, left: Left) -> None:
        producer = self._producer

        def send(timeout: float) -> None:
            self.offsets_sent = self._clock.monotonic()
            self._patience.run(lambda: producer.send_offsets_to_transaction(offsets, group_metadata, timeout), _STUCK_S)

        self._until_done(send, left)

    def _commit(self, left: Left) -> None:
        self._open = "commit"
        try:
            self._until_done(self._producer.commit_transaction, left)
        except KafkaException as cause:
            raise_if_fatal(cause)
            self._abort(left)
            raise Aborted(_reason(cause), cause.args[0].str()) from cause
        self._open = None

    def _abort(self, left: Left) -> None:
        if self._open != "abort":
            self._open, self._aborting = "abort", 0.0

        def abort(timeout: float) -> None:
            if self._aborting >= _STUCK_S:
                raise Stuck("abort_transaction")
            self._aborting += timeout
            self._producer.abort_transaction(timeout)

        try:
            self._until_done(abort, left)
        except Stuck as cause:
            self._replace(str(cause), left)
        self._open = None

    def _replace(self, doing: str, left: Left) -> None:
        self._log.warning("producer_replaced", reason=f"{doing} does not return")
        self._producer = self._make_producer()
        self._start_again(left)

    def _start_again(self, left: Left) -> None:
        """The new producer fences the old one; what that had open is aborted, unless its commit had reached Kafka."""
        self._open = "renew"
        self._until_done(self._producer.init_transactions, left)
        self._open = None

    def _until_done(self, call: Callable[[float], object], left: Left) -> None:
        """Repeat a call that may be repeated until it is done or the time is up."""
        while True:
            try:
                call(_slice(left))
                return
            except KafkaException as cause:
                raise_if_fatal(cause)
                if cause.args[0].txn_requires_abort() or not _may_ask_again(cause):
                    raise
                if left() <= 0:
                    raise Away from cause


def _slice(left: Left) -> float:
    return max(0.01, min(left(), _SLICE_S))
