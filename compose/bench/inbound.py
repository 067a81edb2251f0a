"""`wharf bench inbound`: contacts write to many sessions; what a message costs and how long it takes to the log."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

from compose.bench import bare
from compose.bench.latency import latencies_ms
from compose.bench.people import contact_of, instance_of, phone_of
from compose.bench.processes import machine
from compose.bench.report import Report, Target
from compose.bench.rig import CONNECTOR, HOST, SIMULATOR, Rig
from compose.bench.stage import BENCH, KAFKA, Usage
from compose.bench.stats import quantile
from compose.bench.watch import BenchError, Tell, Watch

NAME = "inbound"
CPU_GOAL_MS, P99_GOAL_MS, BACKLOG_GOAL = 0.6, 60.0, 1500.0
EVENT = "message.new"
WARM_UP = 3
SILENCE_S = 60.0
PREFILL_S = 300.0
BACKLOG_SENDERS = 4
# The last three are measured only to tell what else the processors did.
PROCESSES = (HOST, CONNECTOR, KAFKA, SIMULATOR, BENCH)
# What the connector writes for a message.
TOPICS = ("events.message", "events.session", "sessions")


@dataclass(frozen=True, slots=True)
class Options:
    """`messages` are for each session and repetition; `seconds` is the length of the half-load phase."""

    sessions: int = 100
    messages: int = 100
    repeat: int = 3
    seconds: float = 15.0
    backlog: int = 3000
    analytics: bool = False


@dataclass(frozen=True, slots=True)
class Flood:
    usage: Usage
    messages: int
    seconds: float
    transactions: float
    records: float

    @property
    def cpu_ms(self) -> float:
        return self.usage.ms_per(self.messages, HOST, CONNECTOR)

    @property
    def rate(self) -> float:
        return self.messages / self.seconds


def run(options: Options, tell: Tell) -> Report:
    where = machine()
    with Rig(tell, analytics=options.analytics) as rig:
        rig.add_sessions(0, options.sessions)
        rig.add_contacts(0, options.sessions)
        with rig.watch("events.message", "events.session") as watch:
            tell("warming up")
            flood(rig, watch, options.sessions, WARM_UP, "warm")
            began_ms = time.time_ns() // 1_000_000
            floods = []
            for number in range(options.repeat):
                floods.append(flood(rig, watch, options.sessions, options.messages, f"flood{number}"))
                tell(f"at full load: {floods[-1].rate:.0f} messages/s, {floods[-1].cpu_ms:.2f} ms CPU each")
            written = bare.written_since(rig.clients, TOPICS, began_ms)
            maximum = statistics.median(each.rate for each in floods)
            half, latencies = half_load(rig, watch, options, maximum / 2)
            tell(f"at half load: p99 {quantile(latencies, 0.99):.0f} ms")
            backlogs = []
            for number in range(options.repeat):
                backlogs.append(backlog(rig, watch, options, f"backlog{number}"))
                tell(f"backlog: {backlogs[-1]:.0f} messages/s")
        per_transaction = max(
            1, round(sum(each.records for each in floods) / sum(each.transactions for each in floods))
        )
        floor = bare.produce(rig.clients, written, per_transaction)
    return report(where, options, floods, half, latencies, backlogs, floor, per_transaction)


def report(
    where: dict[str, object],
    options: Options,
    floods: Sequence[Flood],
    half: Flood,
    latencies: Sequence[float],
    backlogs: Sequence[float],
    floor: bare.Bare,
    per_transaction: int,
) -> Report:
    cpu = statistics.median(each.cpu_ms for each in floods)
    messages = sum(each.messages for each in floods)
    # The bytes may be those of a part of the messages only: so many records were written for one.
    records_per_message = sum(each.records for each in floods) / messages
    bare_ms = floor.cpu_s * 1000 / floor.records * records_per_message
    p99, backlog_rate = quantile(latencies, 0.99), statistics.median(backlogs)
    figures = {
        "sessions": options.sessions,
        "with_analytics": options.analytics,
        "messages": messages,
        "cpu_ms_per_message": cpu,
        "cpu_ms_per_message_host": statistics.median(each.usage.ms_per(each.messages, HOST) for each in floods),
        "cpu_ms_per_message_connector": statistics.median(
            each.usage.ms_per(each.messages, CONNECTOR) for each in floods
        ),
        "cpu_ms_per_message_runs": [each.cpu_ms for each in floods],
        "messages_per_s": statistics.median(each.rate for each in floods),
        "records_per_message": records_per_message,
        "records_per_transaction": per_transaction,
        "half_load_messages_per_s": half.rate,
        "half_load_cpu_ms_per_message": half.cpu_ms,
        **{f"half_load_cpu_percent_{name.removeprefix('wharf-')}": half.usage.percent(name) for name in PROCESSES},
        "half_load_waiting_for_processor_percent": sum(half.usage.waited_s.values()) / half.usage.at * 100,
        "half_load_p50_ms": quantile(latencies, 0.5),
        "half_load_p99_ms": p99,
        "backlog_messages": options.backlog,
        "backlog_messages_per_s": backlog_rate,
        "backlog_messages_per_s_runs": list(backlogs),
        "bare_cpu_ms_per_message": bare_ms,
        "cpu_to_bare_ratio": cpu / bare_ms,
    }
    targets = [
        Target("cpu_ms_per_message", CPU_GOAL_MS, cpu),
        Target("half_load_p99_ms", P99_GOAL_MS, p99),
        Target("backlog_messages_per_s", BACKLOG_GOAL, backlog_rate, at_least=True),
    ]
    return Report(NAME, where, figures, targets)


def flood(rig: Rig, watch: Watch, sessions: int, messages: int, prefix: str, rate_per_s: float = 0.0) -> Flood:
    """Each contact writes to its session; over when every message was seen committed.

    With a rate the contacts take turns: in step, all of them would write at the same moment and then none.
    """
    watch.restart()
    total = sessions * messages
    counters = _counters(rig)
    before, began = rig.usage(*PROCESSES), time.time()
    period_s = 1 / rate_per_s if rate_per_s else 0.0
    for number in range(sessions):
        turn_s = (period_s * number / sessions - (time.time() - began)) % period_s if period_s else 0.0
        rig.simulator.flood(
            contact_of(number), phone_of(number), messages, f"{prefix}-{number}-", rate_per_s, round(turn_s * 1000)
        )
    watch.wait({EVENT: total}, SILENCE_S, rig.tell)
    usage = rig.usage(*PROCESSES).since(before)
    after = _counters(rig)
    seen = watch.records(EVENT)
    if len(seen) != total:
        raise BenchError(f"{total} messages were sent and {len(seen)} events came")
    return Flood(usage, total, max(each.at for each in seen) - began, after[0] - counters[0], after[1] - counters[1])


def half_load(rig: Rig, watch: Watch, options: Options, rate: float) -> tuple[Flood, list[float]]:
    """Milliseconds from WhatsApp's acceptance of each message to its event at the consumer."""
    each = rate / options.sessions
    rig.simulator.clear_ledger()
    measured = flood(rig, watch, options.sessions, max(2, round(each * options.seconds)), "half", each)
    return measured, latencies_ms(rig, watch, EVENT)


def backlog(rig: Rig, watch: Watch, options: Options, prefix: str) -> float:
    """Messages a second that came while an instance was stopped: from asking for it online to its last event."""
    instance, count, senders = instance_of(0), options.backlog, min(BACKLOG_SENDERS, options.sessions)
    watch.restart()
    rig.system.request("instance_change", instance, desired="stopped")
    rig.system.flush()
    watch.wait({"session.stopped": 1}, SILENCE_S, rig.tell)
    for number in range(senders):
        share = count // senders + (1 if number < count % senders else 0)
        rig.simulator.flood(contact_of(number), phone_of(0), share, f"{prefix}-{number}-")
    rig.wait_until(lambda: _queued(rig) >= count, PREFILL_S, f"{count} messages in the queue of {instance}")
    began = time.time()
    rig.system.request("instance_change", instance, desired="online")
    rig.system.flush()
    watch.wait({EVENT: count}, SILENCE_S, rig.tell)
    return count / (max(each.at for each in watch.records(EVENT)) - began)


def _queued(rig: Rig) -> int:
    """Messages that wait at WhatsApp for the first instance."""
    [phone] = [each for each in rig.simulator.phones() if each["phone"] == phone_of(0)]
    return sum(device["queue"] for device in phone["devices"] or ())


def _counters(rig: Rig) -> tuple[float, float]:
    """Transactions of the connector and the records in them."""
    return (
        rig.metric(CONNECTOR, "wharf_batch_records_count", processor=CONNECTOR),
        rig.metric(CONNECTOR, "wharf_batch_records_sum", processor=CONNECTOR),
    )
