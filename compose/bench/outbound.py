"""`wharf bench outbound`: commands to many sessions; what one costs until its receipt is in the log."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

from compose.bench import bare
from compose.bench.people import contact_of, instance_of
from compose.bench.processes import machine
from compose.bench.report import Report, Target
from compose.bench.rig import CONNECTOR, HOST, LIMITER, Rig
from compose.bench.stage import Usage
from compose.bench.stats import quantile
from compose.bench.watch import BenchError, Tell, Watch

NAME = "outbound"
CPU_GOAL_MS = 1.0
SENT, DELIVERED = "result.sent", "status.delivered"
WARM_UP = 2
SILENCE_S = 60.0
PROCESSES = (LIMITER, CONNECTOR, HOST)
# What limiter and connector write for a command.
TOPICS = ("commands.admitted", "results", "events.message", "events.status", "events.session", "sessions", "limits")


@dataclass(frozen=True, slots=True)
class Options:
    """`messages` are for each session and repetition."""

    sessions: int = 100
    messages: int = 50
    repeat: int = 3
    analytics: bool = False


@dataclass(frozen=True, slots=True)
class Burst:
    """All commands produced at once, until each has its final result and its receipt."""

    usage: Usage
    commands: int
    seconds: float
    transactions: float
    records: float

    @property
    def cpu_ms(self) -> float:
        return self.usage.ms_per(self.commands, *PROCESSES)


def run(options: Options, tell: Tell) -> Report:
    where = machine()
    with Rig(tell, analytics=options.analytics) as rig:
        rig.add_sessions(0, options.sessions)
        rig.add_contacts(0, options.sessions)
        with rig.watch("results", "events.status") as watch:
            tell("warming up")
            burst(rig, watch, options.sessions, WARM_UP, "warm")
            began_ms = time.time_ns() // 1_000_000
            bursts = []
            for number in range(options.repeat):
                bursts.append(burst(rig, watch, options.sessions, options.messages, f"burst{number}"))
                last = bursts[-1]
                tell(f"{last.commands / last.seconds:.0f} commands/s, {last.cpu_ms:.2f} ms CPU each")
            written = bare.written_since(rig.clients, TOPICS, began_ms)
            single = alone(rig, watch, options.messages, tell)
        per_transaction = max(
            1, round(sum(each.records for each in bursts) / sum(each.transactions for each in bursts))
        )
        floor = bare.produce(rig.clients, written, per_transaction)
    return report(where, options, bursts, single, floor, per_transaction)


def report(
    where: dict[str, object],
    options: Options,
    bursts: Sequence[Burst],
    single: Sequence[float],
    floor: bare.Bare,
    per_transaction: int,
) -> Report:
    cpu = statistics.median(each.cpu_ms for each in bursts)
    commands = sum(each.commands for each in bursts)
    records_per_command = sum(each.records for each in bursts) / commands
    bare_ms = floor.cpu_s * 1000 / floor.records * records_per_command
    figures = {
        "sessions": options.sessions,
        "with_analytics": options.analytics,
        "commands": commands,
        "cpu_ms_per_command": cpu,
        **{
            f"cpu_ms_per_command_{name.removeprefix('wharf-')}": statistics.median(
                each.usage.ms_per(each.commands, name) for each in bursts
            )
            for name in PROCESSES
        },
        "cpu_ms_per_command_runs": [each.cpu_ms for each in bursts],
        "commands_per_s": statistics.median(each.commands / each.seconds for each in bursts),
        "records_per_command": records_per_command,
        "records_per_transaction": per_transaction,
        "single_p50_ms": quantile(single, 0.5),
        "single_p99_ms": quantile(single, 0.99),
        "bare_cpu_ms_per_command": bare_ms,
        "cpu_to_bare_ratio": cpu / bare_ms,
    }
    return Report(NAME, where, figures, [Target("cpu_ms_per_command", CPU_GOAL_MS, cpu)])


def burst(rig: Rig, watch: Watch, sessions: int, messages: int, prefix: str) -> Burst:
    """Each session sends to its contact."""
    watch.restart()
    total = sessions * messages
    counters = _counters(rig)
    before, began = rig.usage(*PROCESSES), time.time()
    for message in range(messages):
        for number in range(sessions):
            _send(rig, number, f"{prefix}-{number}-{message}")
    rig.system.flush()
    watch.wait({SENT: total, DELIVERED: total}, SILENCE_S, rig.tell)
    usage = rig.usage(*PROCESSES).since(before)
    after = _counters(rig)
    finals = watch.records(SENT)
    if len(finals) != total:
        raise BenchError(f"{total} commands were produced and {len(finals)} were sent")
    last = max(each.at for each in (*finals, *watch.records(DELIVERED)))
    return Burst(usage, total, last - began, after[0] - counters[0], after[1] - counters[1])


def alone(rig: Rig, watch: Watch, count: int, tell: Tell) -> list[float]:
    """Milliseconds from producing a command to its final at the consumer, one after another, nothing else going on."""
    took = []
    for number in range(count):
        watch.restart()
        began = time.time()
        _send(rig, 0, f"alone-{number}")
        rig.system.flush()
        watch.wait({SENT: 1, DELIVERED: 1}, SILENCE_S, tell)
        took.append((watch.records(SENT)[0].at - began) * 1000)
    return took


def _send(rig: Rig, number: int, command_id: str) -> None:
    rig.system.send_text(instance_of(number), f"+{contact_of(number)}", f"text of {command_id}", command_id)


def _counters(rig: Rig) -> tuple[float, float]:
    """Transactions of limiter and connector and the records in them."""
    names = (LIMITER, CONNECTOR)
    return (
        sum(rig.metric(name, "wharf_batch_records_count", processor=name) for name in names),
        sum(rig.metric(name, "wharf_batch_records_sum", processor=name) for name in names),
    )
