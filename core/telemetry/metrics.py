"""Every Prometheus metric name of wharf, as a literal with what it counts. A metric not listed here does not exist.

`Metrics` makes the collectors of one process in a registry of its own: nothing is global.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector


@dataclass(frozen=True, slots=True)
class CounterName:
    name: str
    help: str
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class GaugeName:
    name: str
    help: str
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class HistogramName:
    name: str
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)


# --- every process ---------------------------------------------------------------------------------------------------

# 1 with the component's name; a dashboard joins on it.
BUILD_INFO: Final = GaugeName("wharf_process_info", "Component and slot of this process.", ("component", "slot"))
# 1 = healthy, 0 = not; the same checks as /healthz.
HEALTHY: Final = GaugeName("wharf_health_check", "Result of each health check.", ("check",))

# --- the transactional loop (core.kafka.loop) ------------------------------------------------------------------------

# kind: work = records or positions of a batch, keepalive = offsets only so that a zombie learns of its fence.
TRANSACTIONS: Final = CounterName("wharf_transactions_total", "Committed transactions.", ("processor", "kind"))
# reason: Kafka's error name; a rebalance shows as ILLEGAL_GENERATION or UNKNOWN_MEMBER_ID.
ABORTS: Final = CounterName("wharf_transaction_aborts_total", "Aborted transactions.", ("processor", "reason"))
# Records produced per work transaction.
BATCH_RECORDS: Final = HistogramName(
    "wharf_batch_records",
    "Records per transaction.",
    ("processor",),
    (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000),
)
# From begin_transaction to the return of commit_transaction.
COMMIT_SECONDS: Final = HistogramName("wharf_commit_seconds", "Duration of a transaction.", ("processor",))
# High watermark minus position, per consumed partition.
LAG: Final = GaugeName("wharf_lag_records", "Records behind the end.", ("processor", "topic", "partition"))
# From assignment to the committed claim.
TAKEOVER_SECONDS: Final = HistogramName(
    "wharf_takeover_seconds",
    "Duration of a take-over.",
    ("processor",),
    (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 120),
)
# Per partition of the state topic that a standby follows.
STANDBY_LAG: Final = GaugeName(
    "wharf_standby_lag_records", "Committed records not followed yet.", ("processor", "partition")
)
# Keys and values that a standby holds of partitions that others own.
STANDBY_BYTES: Final = GaugeName("wharf_standby_bytes", "Bytes of followed state.", ("processor",))
# reason: stale = may have missed tombstones, position_lost = the log no longer has its position.
STANDBY_RESTARTS: Final = CounterName(
    "wharf_standby_restarts_total", "Partitions followed from the beginning again.", ("processor", "reason")
)
# What take-overs restored; source: log = read by the take-over, standby = was in memory.
RESTORED: Final = CounterName("wharf_restored_records_total", "State records restored.", ("processor", "source"))
# Partitions this process owns at the moment.
OWNED_PARTITIONS: Final = GaugeName("wharf_owned_partitions", "Partitions owned.", ("processor",))
# Records consumed and given to the processor.
CONSUMED: Final = CounterName("wharf_consumed_records_total", "Records consumed.", ("processor", "topic"))
# Partitions whose unfinished work was dropped because Kafka was away too long or the partition was lost.
DROPPED: Final = CounterName("wharf_dropped_batches_total", "Partition batches dropped.", ("processor", "reason"))

# --- codec and registry (core.kafka.codec) ---------------------------------------------------------------------------

# Records that could not be decoded and became dead letters, by error code.
DEAD_LETTERS: Final = CounterName(
    "wharf_dead_letters_total", "Records sent to the dead letters.", ("processor", "code")
)
# Failed requests to the schema registry that are being retried.
REGISTRY_RETRIES: Final = CounterName("wharf_registry_retries_total", "Registry requests repeated.")

# --- limiter ---------------------------------------------------------------------------------------------------------

# outcome: admitted, delayed, rejected, expired, cancelled, duplicate, forwarded.
LIMITER_DECISIONS: Final = CounterName("wharf_limiter_decisions_total", "Decisions on commands.", ("outcome",))
# Commands held until their time or until the instance is online.
LIMITER_DELAYED: Final = GaugeName("wharf_limiter_delayed_commands", "Commands held back.")

# --- registrar -------------------------------------------------------------------------------------------------------

# outcome: accepted, rejected.
REGISTRAR_REQUESTS: Final = CounterName(
    "wharf_registrar_requests_total", "Control requests decided.", ("kind", "outcome")
)

# --- sink ------------------------------------------------------------------------------------------------------------

# Rows that ClickHouse took; a batch that was inserted again after a crash counts again.
SINK_ROWS: Final = CounterName("wharf_sink_rows_total", "Rows inserted into ClickHouse.", ("topic",))
# Records whose event was in the same batch or in the table already.
SINK_DUPLICATES: Final = CounterName("wharf_sink_duplicates_total", "Records of events already there.", ("topic",))
# Offsets that retention removed before the sink came to them.
SINK_GONE: Final = CounterName("wharf_sink_gone_records_total", "Records removed before they were read.", ("topic",))
# One insert with all rollups.
SINK_INSERT_SECONDS: Final = HistogramName("wharf_sink_insert_seconds", "Duration of an insert.")
# Read and not yet in a batch.
SINK_BUFFER_BYTES: Final = GaugeName("wharf_sink_buffer_bytes", "Bytes read ahead.")

# --- connector -------------------------------------------------------------------------------------------------------

# Sessions by state of the session state machine.
SESSIONS: Final = GaugeName("wharf_sessions", "Sessions by state.", ("state",))
# Events published, by topic suffix.
EVENTS: Final = CounterName("wharf_events_total", "Events published.", ("topic",))
# Final results published, by state.
RESULTS: Final = CounterName("wharf_results_total", "Final command results.", ("state",))
# From WhatsApp's frame at the host to the commit of its event.
INBOUND_SECONDS: Final = HistogramName("wharf_inbound_seconds", "Frame received to event committed.")
# From the admitted command's offset commit to WhatsApp's ack.
OUTBOUND_SECONDS: Final = HistogramName("wharf_outbound_seconds", "Command read to WhatsApp's ack.")
# Commands accepted and not yet final.
QUEUED_COMMANDS: Final = GaugeName("wharf_queued_commands", "Commands without a final result.")
# Journal entries received from the host and not yet committed.
HOST_BACKLOG_BYTES: Final = GaugeName("wharf_host_backlog_bytes", "Bytes from the host not yet committed.")
# Restarts of the session host seen by this connector.
HOST_RESTARTS: Final = CounterName("wharf_host_restarts_total", "Session host restarts.")
# What the host says of itself every 5 s. kind: real or simulated.
HOST_RSS_BYTES: Final = GaugeName("wharf_host_rss_bytes", "Memory of the session host.", ("kind",))
HOST_CPU_SECONDS: Final = GaugeName("wharf_host_cpu_seconds", "Processor time of the session host.", ("kind",))
HOST_FRAMES_HELD: Final = GaugeName("wharf_host_frames_held", "Frames waiting for a commit.", ("kind",))
HOST_UNDECRYPTABLE: Final = GaugeName("wharf_host_undecryptable", "Messages the host could not decrypt.", ("kind",))
# Messages that came undecryptable, by what was wrong.
UNDECRYPTABLE: Final = CounterName("wharf_undecryptable_total", "Messages received undecryptable.", ("reason",))
# Those that came again and could be read.
FOLLOWED_UP: Final = CounterName("wharf_undecryptable_followed_up_total", "Undecryptable messages made good.")
# Gaps told, by reason: undecryptable, replaced, logged_out, offline_queue.
GAPS: Final = CounterName("wharf_gaps_total", "Gap events.", ("reason",))

# --- embedded ClickHouse ---------------------------------------------------------------------------------------------

# interface: native, http. outcome: done, failed, cancelled.
CLICKHOUSE_SECONDS: Final = HistogramName(
    "wharf_clickhouse_query_seconds",
    "Duration of a query.",
    ("interface", "outcome"),
    (0.005, 0.02, 0.1, 0.5, 2, 10, 60),
)
# Refused or failed queries by ClickHouse's error code.
CLICKHOUSE_ERRORS: Final = CounterName("wharf_clickhouse_errors_total", "Failed queries.", ("code",))
# Connections open on both interfaces.
CLICKHOUSE_CONNECTIONS: Final = GaugeName("wharf_clickhouse_connections", "Open connections.")
# Bytes of blocks that clients are sending and that the engine does not have yet.
CLICKHOUSE_INCOMING_BYTES: Final = GaugeName("wharf_clickhouse_incoming_bytes", "Bytes of blocks held.")
CLICKHOUSE_INSERTED_ROWS: Final = CounterName("wharf_clickhouse_inserted_rows_total", "Rows inserted in blocks.")
# The result cache (analytics/embedded/cache.py): of the queries that ask for it, those it answered and those it could not.
CLICKHOUSE_CACHE_HITS: Final = CounterName("wharf_clickhouse_cache_hits_total", "Queries answered from the cache.")
CLICKHOUSE_CACHE_MISSES: Final = CounterName("wharf_clickhouse_cache_misses_total", "Queries that had to be run.")
CLICKHOUSE_CACHE_HIT_RATIO: Final = GaugeName(
    "wharf_clickhouse_cache_hit_ratio", "Share of hits since the start, 0 to 1."
)
CLICKHOUSE_CACHE_BYTES: Final = GaugeName("wharf_clickhouse_cache_bytes", "Bytes of results kept.")


class Metrics:
    """Collectors of one process, made at first use."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = CollectorRegistry() if registry is None else registry
        self._made: dict[str, Counter | Gauge | Histogram] = {}
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)

    def counter(self, spec: CounterName) -> Counter:
        made = self._made.get(spec.name)
        if made is None:
            made = self._made[spec.name] = Counter(spec.name, spec.help, spec.labels, registry=self.registry)
        assert isinstance(made, Counter)
        return made

    def gauge(self, spec: GaugeName) -> Gauge:
        made = self._made.get(spec.name)
        if made is None:
            made = self._made[spec.name] = Gauge(spec.name, spec.help, spec.labels, registry=self.registry)
        assert isinstance(made, Gauge)
        return made

    def histogram(self, spec: HistogramName) -> Histogram:
        made = self._made.get(spec.name)
        if made is None:
            made = self._made[spec.name] = Histogram(
                spec.name, spec.help, spec.labels, registry=self.registry, buckets=spec.buckets
            )
        assert isinstance(made, Histogram)
        return made

    def expose(self) -> bytes:
        """The text format of all collectors."""
        return generate_latest(self.registry)
