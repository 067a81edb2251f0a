"""`wharf bench storm`: most sessions lose their connection at once; what the others notice, and when all are back."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from compose.bench.inbound import EVENT, SILENCE_S, WARM_UP, flood
from compose.bench.latency import latencies_ms
from compose.bench.people import contact_of, phone_of
from compose.bench.processes import machine
from compose.bench.report import Report, Target
from compose.bench.rig import CONNECTOR, HOST, SIMULATOR, Rig
from compose.bench.stage import KAFKA, Usage
from compose.bench.stats import quantile
from compose.bench.watch import BenchError, Tell, Watch

NAME = "storm"
# A session waits up to twice reconnect_first_ms with jitter before it tries again.
BACK_GOAL_S = 10.0
ONLINE = "session.online"
PROCESSES = (HOST, CONNECTOR, KAFKA, SIMULATOR)
KICKERS = 16


@dataclass(frozen=True, slots=True)
class Options:
    """`live` of the sessions stay online and get `rate` messages a second together for `seconds`; the others are cut off."""

    sessions: int = 1000
    live: int = 50
    rate: float = 100.0
    seconds: float = 20.0
    repeat: int = 3
    analytics: bool = False


@dataclass(frozen=True, slots=True)
class Storm:
    """`back_s` runs from the first cut to the last session's online event."""

    back_s: float
    latencies: Sequence[float]
    usage: Usage


def run(options: Options, tell: Tell) -> Report:
    if not 0 < options.live < options.sessions:
        raise BenchError("some sessions must be cut off and some stay: live must be above 0 and below sessions")
    where = machine()
    with Rig(tell, analytics=options.analytics) as rig:
        rig.add_sessions(0, options.sessions)
        rig.add_contacts(0, options.live)
        with rig.watch("events.message", "events.session") as watch:
            flood(rig, watch, options.live, WARM_UP, "warm")
            calm = calm_latencies(rig, watch, options)
            tell(f"before: p99 {quantile(calm, 0.99):.0f} ms")
            storms = []
            for number in range(options.repeat):
                storms.append(storm(rig, watch, options, f"storm{number}"))
                p99 = quantile(storms[-1].latencies, 0.99)
                tell(f"all back after {storms[-1].back_s:.1f} s; p99 of the others {p99:.0f} ms")
    return report(where, options, calm, storms)


def report(where: dict[str, object], options: Options, calm: Sequence[float], storms: Sequence[Storm]) -> Report:
    back = statistics.median(each.back_s for each in storms)
    figures = {
        "sessions": options.sessions,
        "with_analytics": options.analytics,
        "cut_off": options.sessions - options.live,
        "back_s": back,
        "back_s_runs": [each.back_s for each in storms],
        "live_messages_per_s": options.rate,
        "live_p50_ms_before": quantile(calm, 0.5),
        "live_p99_ms_before": quantile(calm, 0.99),
        "live_p50_ms": statistics.median(quantile(each.latencies, 0.5) for each in storms),
        "live_p99_ms": statistics.median(quantile(each.latencies, 0.99) for each in storms),
        "live_max_ms": max(max(each.latencies) for each in storms),
        **{
            f"cpu_percent_{name.removeprefix('wharf-')}": statistics.median(each.usage.percent(name) for each in storms)
            for name in PROCESSES
        },
    }
    return Report(NAME, where, figures, [Target("back_s", BACK_GOAL_S, back)])


def calm_latencies(rig: Rig, watch: Watch, options: Options) -> list[float]:
    each = options.rate / options.live
    rig.simulator.clear_ledger()
    flood(rig, watch, options.live, max(2, round(each * options.seconds)), "calm", each)
    return latencies_ms(rig, watch, EVENT)


def storm(rig: Rig, watch: Watch, options: Options, prefix: str) -> Storm:
    """Cuts the others off hard while the live ones get their messages; over when all are back and all has come."""
    each, cut_off = options.rate / options.live, range(options.live, options.sessions)
    count = max(2, round(each * options.seconds))
    watch.restart()
    rig.simulator.clear_ledger()
    before = rig.usage(*PROCESSES)
    for number in range(options.live):
        after_ms = round(1000 / each * number / options.live)
        rig.simulator.flood(contact_of(number), phone_of(number), count, f"{prefix}-{number}-", each, after_ms)
    watch.wait({EVENT: options.live}, SILENCE_S, rig.tell)
    began = time.time()
    with ThreadPoolExecutor(KICKERS) as pool:
        list(pool.map(lambda number: rig.simulator.kick(phone_of(number), hard=True), cut_off))
    watch.wait({EVENT: options.live * count, ONLINE: len(cut_off)}, SILENCE_S, rig.tell)
    usage = rig.usage(*PROCESSES).since(before)
    back_s = max(seen.at for seen in watch.records(ONLINE)) - began
    return Storm(back_s, latencies_ms(rig, watch, EVENT), usage)
