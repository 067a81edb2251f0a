"""`wharf bench sessions`: what idle sessions weigh, how fast all come back, and whether memory stays flat under traffic."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from compose.bench import processes
from compose.bench.people import contact_of, instance_of, phone_of
from compose.bench.processes import machine
from compose.bench.report import Report, Target
from compose.bench.rig import CONNECTOR, HOST, LIMITER, Rig
from compose.bench.stats import after_warm_up, slope_per_hour
from compose.bench.watch import Tell, Watch
from core.kafka.dump import dump

NAME = "sessions"
MEMORY_GOAL_MB, COLD_GOAL_S = 0.5, 5.0
# Of what is resident after the warm-up, over an hour.
GROWTH_GOAL_MB_PER_HOUR = 5.0
# A slope over less says more about the warm-up of pools and caches than about an hour.
LONG_MINUTES = 30.0
# The first part of a traffic period, in which pools and caches fill, is not part of the slope.
WARM_UP_SHARE = 0.25
ONLINE = "session.online"
EVENT, SENT = "message.new", "result.sent"
SILENCE_S = 90.0
SAMPLE_S = 1.0
MEMORY = (CONNECTOR, HOST)
WATCHED = (CONNECTOR, HOST, LIMITER)


@dataclass(frozen=True, slots=True)
class Options:
    """`idle_s` passes before memory is read; traffic of `rate` messages a second each way lasts `minutes`."""

    sessions: int = 500
    repeat: int = 3
    idle_s: float = 15.0
    minutes: float = 2.0
    rate: float = 50.0
    talking: int = 50
    analytics: bool = False


@dataclass(frozen=True, slots=True)
class Start:
    """Seconds from the start of the connector's process to sessions online, and the CPU it and its host took."""

    first_s: float
    last_s: float
    cpu_s: float


@dataclass(frozen=True, slots=True)
class Idle:
    """Megabytes resident, and the share of a processor that idle sessions take."""

    rss_mb: dict[str, float]
    cpu_percent: dict[str, float]

    @property
    def total_mb(self) -> float:
        return sum(self.rss_mb.values())


@dataclass(slots=True)
class Traffic:
    seconds: float
    messages: int
    samples: dict[str, list[tuple[float, float]]] = field(default_factory=dict)

    def slope(self, name: str) -> float:
        return slope_per_hour(after_warm_up(self.samples[name], WARM_UP_SHARE))


def run(options: Options, tell: Tell) -> Report:
    where = machine()
    with Rig(tell, analytics=options.analytics) as rig:
        rig.add_sessions(0, 1)
        one = idle(rig, options)
        rig.add_sessions(1, options.sessions - 1)
        paired = idle(rig, options)
        tell(f"{paired.total_mb:.0f} MB resident after pairing")
        starts = []
        for _ in range(options.repeat):
            starts.append(cold_start(rig, options.sessions))
            tell(f"{options.sessions} sessions online {starts[-1].last_s:.2f} s after the start of the connector")
        restarted = idle(rig, options)
        tell(f"{restarted.total_mb:.0f} MB resident after a restart")
        read_s = bare_read(rig)
        traffic = talk(rig, options, tell)
    return report(where, options, one, paired, starts, restarted, read_s, traffic)


def report(
    where: dict[str, object],
    options: Options,
    one: Idle,
    paired: Idle,
    starts: Sequence[Start],
    restarted: Idle,
    read_s: float,
    traffic: Traffic,
) -> Report:
    count = options.sessions
    # Everything the two processes hold, their own start included: the stricter reading.
    per_session = max(paired.total_mb, restarted.total_mb) / count
    cold = statistics.median(each.last_s for each in starts)
    slopes = {name: traffic.slope(name) for name in WATCHED}
    growth = sum(slopes[name] for name in MEMORY)
    figures = {
        "sessions": count,
        "with_analytics": options.analytics,
        "mb_per_session": per_session,
        "mb_per_session_paired": paired.total_mb / count,
        "mb_per_session_restarted": restarted.total_mb / count,
        "mb_per_further_session": (paired.total_mb - one.total_mb) / max(1, count - 1),
        "mb_host": max(paired.rss_mb[HOST], restarted.rss_mb[HOST]),
        "mb_connector": max(paired.rss_mb[CONNECTOR], restarted.rss_mb[CONNECTOR]),
        "mb_with_one_session": one.total_mb,
        "idle_cpu_percent_host": restarted.cpu_percent[HOST],
        "idle_cpu_percent_connector": restarted.cpu_percent[CONNECTOR],
        "cold_start_s": cold,
        "cold_start_s_runs": [each.last_s for each in starts],
        "cold_start_first_online_s": statistics.median(each.first_s for each in starts),
        "cold_start_cpu_s": statistics.median(each.cpu_s for each in starts),
        "bare_read_of_state_s": read_s,
        "cold_start_to_bare_ratio": cold / read_s,
        "traffic_minutes": traffic.seconds / 60,
        "traffic_messages": traffic.messages,
        **{f"growth_mb_per_hour_{name.removeprefix('wharf-')}": slope for name, slope in slopes.items()},
    }
    targets = [
        Target("mb_per_session", MEMORY_GOAL_MB, per_session),
        Target("cold_start_s", COLD_GOAL_S, cold),
    ]
    if traffic.seconds >= LONG_MINUTES * 60:
        figures["growth_mb_per_hour"] = growth
        targets.append(Target("growth_mb_per_hour", GROWTH_GOAL_MB_PER_HOUR, growth))
    return Report(NAME, where, figures, targets)


def idle(rig: Rig, options: Options) -> Idle:
    """Nothing happens for a while; then memory, and the processor time of that while."""
    before = rig.usage(*MEMORY)
    time.sleep(options.idle_s)
    spent = rig.usage(*MEMORY).since(before)
    return Idle({name: rig.rss_mb(name) for name in MEMORY}, {name: spent.percent(name) for name in MEMORY})


def cold_start(rig: Rig, count: int) -> Start:
    """kill -9 the connector (its host goes with it); its successor reads the committed state and opens every session."""
    with rig.watch("events.session") as watch:
        old = rig.pid(CONNECTOR)
        rig.stack.kill(rig.component(CONNECTOR).name)
        rig.wait_until(lambda: rig.component(CONNECTOR).pid not in (None, old), SILENCE_S, "a new connector process")
        began = processes.started_at(rig.pid(CONNECTOR))
        watch.wait({ONLINE: count}, SILENCE_S, rig.tell)
        spent = rig.usage(*MEMORY).cpu_s
        online = sorted(each.at - began for each in watch.records(ONLINE))
    return Start(online[0], online[-1], sum(spent.values()))


def bare_read(rig: Rig) -> float:
    """Seconds in which a plain read_committed consumer reads the same state from its beginning to its end."""
    began = time.monotonic()
    for _ in dump(rig.clients, ["sessions"]):
        pass
    return time.monotonic() - began


def talk(rig: Rig, options: Options, tell: Tell) -> Traffic:
    """Messages both ways at an even rate, and the resident memory once a second."""
    talking = min(options.talking, options.sessions)
    rig.add_contacts(0, talking)
    seconds = options.minutes * 60
    traffic = Traffic(seconds, 0, {name: [] for name in WATCHED})
    each = max(1, round(options.rate * seconds / talking))
    with rig.watch("events.message", "results") as watch:
        began = time.monotonic()
        for number in range(talking):
            rig.simulator.flood(contact_of(number), phone_of(number), each, f"talk-{number}-", each / seconds)
        commands = _send_evenly(rig, watch, traffic, talking, each, began, tell)
        watch.wait({SENT: commands, EVENT: commands + talking * each}, SILENCE_S, tell)
    traffic.seconds = time.monotonic() - began
    traffic.messages = commands + talking * each
    return traffic


def _send_evenly(rig: Rig, watch: Watch, traffic: Traffic, talking: int, each: int, began: float, tell: Tell) -> int:
    total, sent, next_sample, next_word = talking * each, 0, 0.0, 0.0
    per_second = total / traffic.seconds
    while sent < total:
        elapsed = time.monotonic() - began
        while sent < min(total, elapsed * per_second):
            number = sent % talking
            rig.system.send_text(instance_of(number), f"+{contact_of(number)}", f"talk {sent}", f"talk-{number}-{sent}")
            sent += 1
        if elapsed >= next_sample:
            next_sample = elapsed + SAMPLE_S
            for name in WATCHED:
                traffic.samples[name].append((elapsed, rig.rss_mb(name)))
            watch.forget()
        if elapsed >= next_word:
            next_word = elapsed + 10.0
            rss = ", ".join(f"{name} {traffic.samples[name][-1][1]:.0f} MB" for name in WATCHED)
            tell(f"{elapsed:.0f}/{traffic.seconds:.0f} s of traffic: {rss}")
        time.sleep(0.05)
    rig.system.flush()
    return sent
