"""The loop's commits one after another, how long they may take, and when Kafka last answered.

An aborted one is the caller's to repeat, with the same records. One whose end is open is settled before the next begins,
and what came of it counts for the batch it carried only: a release that was committed after all says nothing of the work
that came after it.
"""

from __future__ import annotations

from collections.abc import Callable

from core.clock import Clock
from core.kafka.holdings import Payload
from core.kafka.pace import Pace
from core.kafka.processor import Batch
from core.kafka.transaction import Aborted, Away, Left, Transactions
from core.telemetry import metrics as names
from core.telemetry.logs import get_logger
from core.telemetry.metrics import Metrics

# Reasons of aborts that come with every rebalance and mean nothing by themselves.
_REBALANCE = frozenset({"ILLEGAL_GENERATION", "UNKNOWN_MEMBER_ID", "REBALANCE_IN_PROGRESS"})
AWAY = "Kafka does not answer"


class Commits:
    """Not thread-safe but for `end_within`; `group_metadata` is asked anew for every transaction.

    `on_confirmed` hears of each commit that says that this process goes on: when the group surely had it as a member.
    """

    def __init__(
        self,
        transactions: Transactions,
        group_metadata: Callable[[], object],
        processor: str,
        *,
        clock: Clock,
        metrics: Metrics,
        pace: Pace,
        on_confirmed: Callable[[float], None] = lambda _at: None,
    ) -> None:
        self._transactions = transactions
        self._group_metadata = group_metadata
        self._processor = processor
        self._clock = clock
        self._metrics = metrics
        self._pace = pace
        self._on_confirmed = on_confirmed
        self._log = get_logger(__name__).bind(processor=processor)
        self._end: float | None = None
        # The batch in the transaction whose end is open, and the batch that turned out to be committed.
        self._open: Batch | None = None
        self._settled: Batch | None = None
        self.last = 0.0
        # Since when the last one surely had this process as the group's member.
        self.confirmed = 0.0
        # The last abort was the group's doing, which comes after the question who has the slot.
        self.by_the_group = False
        # When Kafka last answered, and what it is that keeps it from it; giving up resets neither.
        self.answered = 0.0
        self.trouble = ""
        # The next transaction with work is not due before.
        self.next_work = 0.0

    def start(self) -> None:
        """Fence the previous incarnation; Away or a KafkaException when that cannot be done now."""
        self._transactions.start(self.deadline(self._pace.give_up))
        self._answered_now()

    def renew(self) -> None:
        """After a fence that hit nothing; Away or a KafkaException when that cannot be done now."""
        self._transactions.renew(self.deadline(self._pace.give_up))

    def abandon(self) -> None:
        """Give up what is open, after everything it was for has been; it counts as not committed here."""
        self._transactions.abandon()
        self._open = None

    def end_within(self, seconds: float) -> None:
        """Nothing may take longer than that from now on; from any thread."""
        self._end = self._clock.monotonic() + seconds

    def deadline(self, seconds: float) -> Left:
        """Seconds left of that time, less once the loop is to stop."""
        end = self._clock.monotonic() + seconds
        return lambda: self._left(end)

    def until_give_up(self) -> float:
        return self._left(self.last + self._pace.give_up)

    def _left(self, end: float) -> float:
        return (end if self._end is None else min(end, self._end)) - self._clock.monotonic()

    def heard(self) -> None:
        """Kafka answered something else than a commit."""
        self.answered = self._clock.monotonic()

    def settle(self, left: Left) -> None:
        """End what is pending; Away when that cannot be done now."""
        if self._transactions.unsettled:
            committed = self._transactions.settle(left)
            self._settled, self._open = (self._open if committed else None), None

    def work(self, batch: Batch, make: Callable[[], Payload], left: Left) -> bool:
        """The batch, made into a transaction by `make`; False when it was aborted or Kafka is away."""
        try:
            self.settle(left)
        except Away:
            return False
        if self._settled is batch:
            self._answered_now()
            return True
        return self._run("work", make(), left, batch)

    def commit(self, kind: str, payload: Payload, left: Left) -> bool:
        """Claim, release or keep-alive; False when it was aborted or Kafka is away."""
        self.by_the_group = False
        try:
            self.settle(left)
        except Away:
            self.trouble = AWAY
            return False
        return self._run(kind, payload, left, None)

    def _run(self, kind: str, payload: Payload, left: Left, batch: Batch | None) -> bool:
        began = self._clock.monotonic()
        self._open = batch
        try:
            self._transactions.run(*payload, self._group_metadata(), left, work=kind == "work")
        except Aborted as cause:
            self.trouble = f"aborted with {cause.reason}"
            self._metrics.counter(names.ABORTS).labels(self._processor, cause.reason).inc()
            self.by_the_group = cause.reason in _REBALANCE
            log = self._log.info if self.by_the_group else self._log.warning
            log("transaction_aborted", kind=kind, reason=cause.reason, detail=cause.detail)
            self.next_work = self._clock.monotonic() + self._pace.retry
            return False
        except Away:
            self.trouble = AWAY
            self._log.warning("kafka_away", doing=kind)
            return False
        self._answered_now()
        if kind != "release":
            self.confirmed = self._transactions.offsets_sent
            self._on_confirmed(self.confirmed)
        took = self.last - began
        self._metrics.counter(names.TRANSACTIONS).labels(self._processor, kind).inc()
        if kind == "work":
            self.next_work = began + max(self._pace.transaction, took)
            self._metrics.histogram(names.COMMIT_SECONDS).labels(self._processor).observe(took)
            self._metrics.histogram(names.BATCH_RECORDS).labels(self._processor).observe(len(payload.records))
        return True

    def _answered_now(self) -> None:
        self.last = self.answered = self._clock.monotonic()
        self.trouble = ""
