"""One run: load, faults by the schedule, settling, the verdict, the report."""

from __future__ import annotations

import json
import shutil
import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from compose.bench.processes import machine
from compose.bench.report import Target, rounded
from compose.bench.watch import Tell
from compose.chaos import evidence, times
from compose.chaos.faults import Done, Faults
from compose.chaos.schedule import Step, steps
from compose.chaos.tail import Tail
from compose.chaos.times import Away
from compose.chaos.workload import Flight, Workload
from compose.chaos.world import ChaosError, Options, World
from compose.demo import stored
from compose.demo.dump import Dump
from compose.stack.state import ComponentState
from compose.toolchain.checkout import commit
from core.ids import partition_for
from core.verdict import ENDS, KINDS, Verdict, judge

FLOW_S = 60.0
BACK_S = 60.0
SETTLE_S = 900.0
# A reconnect waits two minutes at most.
SILENCE_S = 150.0
TELL_S = 10.0
LOOK_AGAIN_S = 30.0
STORED_S = 120.0
MOVE_S = 30.0
# What was committed before a fault may be seen so much later.
LATE_S = 0.2
# Commands that may end otherwise than they should: a thousandth, by the goal.
OTHERWISE = ("unknown", "expired", "rejected")
ENDED_OTHERWISE = 0.001
_POLL_S = 0.2
# Faults whose instances are timed until they are online again, and the names of those figures.
DEATHS = {
    "kill_connector": "failover",
    "drain_connector": "restart",
    "kill_host": "host_failover",
    "lose_machine": "machine_failover",
    "cut_machine": "cut_off_failover",
    "stale_commit": "stand_still_failover",
}


@dataclass(frozen=True, slots=True)
class Plan:
    name: str = "mix"
    minutes: float = 10.0
    seed: int = 1
    rate: float = 20.0
    world: Options = field(default_factory=Options)
    log: Path | None = None  # what happened, a JSON object per fault; else beside the data


@dataclass(frozen=True, slots=True)
class Happened:
    """A step, when it began and was done, what it did, and how long it was until everything answered again; None where
    that was not waited for."""

    step: Step
    began_at: float
    ended_at: float
    done: Done
    back_s: float | None
    stuck: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        done = {**asdict(self.done), "moved": sorted(self.done.moved)}
        return {
            "number": self.step.number,
            "fault": self.step.fault,
            **{name: value for name, value in done.items() if value not in ((), [], {}, None)},
            "back_s": None if self.back_s is None else round(self.back_s, 2),
            "stuck": list(self.stuck),
        }


@dataclass(frozen=True, slots=True)
class Report:
    plan: Plan
    commit: str | None  # of the code
    machine: Mapping[str, Any]
    figures: Mapping[str, Any]
    targets: Sequence[Target]
    verdict: Verdict
    kept: Path | None = None  # the data directory, where something was wrong

    @property
    def clean(self) -> bool:
        return self.verdict.clean

    def as_dict(self) -> dict[str, Any]:
        return {
            "chaos": self.plan.name,
            "seed": self.plan.seed,
            "minutes": self.plan.minutes,
            "commit": self.commit,
            "machine": dict(self.machine),
            "figures": {name: rounded(value) for name, value in self.figures.items()},
            "targets": [
                {"name": each.name, "goal": each.goal, "value": rounded(each.value), "met": each.met}
                for each in self.targets
            ],
        }


class Run:
    def __init__(self, plan: Plan, tell: Tell) -> None:
        self._plan = plan
        self._began = time.monotonic()
        self._say = tell
        self._happened: list[Happened] = []
        self._closed: dict[
            str, float
        ] = {}  # instances whose sessions a fault closed, and when, until they are waited for

    def go(self) -> Report:
        """The data directory is removed when nothing was wrong."""
        where, code = machine(), commit()
        world = World(self._plan.world, self._tell)
        with world:
            verdict, figures = self._in(world)
        report = Report(
            self._plan, code, where, figures, targets(figures), verdict, None if verdict.clean else world.folder
        )
        if verdict.clean:
            shutil.rmtree(world.folder, ignore_errors=True)
        return report

    def _tell(self, text: str) -> None:
        self._say(f"{time.monotonic() - self._began:7.1f} s  {text}")

    def _in(self, world: World) -> tuple[Verdict, dict[str, Any]]:
        with Tail(world.settings) as tail:
            with Workload(world.settings, world.simulator, world.people, tail, self._plan.rate) as load:
                self._wait_flowing(world, tail)
                self._hit(world, load, tail)
                settled_s = self._settle(world, load, tail)
            verdict = self._judge(world, load, tail)
            if not verdict.clean:
                self._keep(world, tail, verdict)
            return verdict, self._figures(world, load, tail, verdict, settled_s)

    def _wait_flowing(self, world: World, tail: Tail) -> None:
        began = time.time()
        if not world.wait_until(lambda: _heard(world, tail, began), FLOW_S):
            raise ChaosError(
                f"not every instance was heard of within {FLOW_S:.0f} s; the logs are in {world.stack.files.logs}"
            )
        self._tell(f"load runs: {self._plan.rate:g} messages a second each way, {len(world.people.phones)} instances")

    # --- faults ------------------------------------------------------------------------------------------------------

    def _hit(self, world: World, load: Workload, tail: Tail) -> None:
        faults = Faults(world, load, tail)
        end = time.monotonic() + self._plan.minutes * 60
        with self._log(world).open("w") as log:
            head = {
                "chaos": self._plan.name,
                "seed": self._plan.seed,
                "minutes": self._plan.minutes,
                "commit": commit(),
            }
            log.write(json.dumps(head) + "\n")
            for step in steps(self._plan.seed, self._plan.name, self._plan.minutes):
                time.sleep(min(step.pause_s, max(0.0, end - time.monotonic())))
                if time.monotonic() >= end:
                    return
                began_at = time.time()
                done = faults.do(step)
                happened = self._follow(world, tail, step, (began_at, time.time()), done)
                self._happened.append(happened)
                log.write(json.dumps(happened.as_dict()) + "\n")
                log.flush()
                self._tell(_line(happened))
                load.raise_failure()
                tail.raise_failure()

    def _log(self, world: World) -> Path:
        return self._plan.log or world.folder / "faults.jsonl"

    def _follow(self, world: World, tail: Tail, step: Step, span: tuple[float, float], done: Done) -> Happened:
        """Wait until whoever it and the steps it overlapped hit is back, but for the steps that another one is to overlap."""
        began = time.time()
        self._closed |= done.moved
        if step.overlaps or not (done.hit or self._closed):
            return Happened(step, *span, done, None)
        if done.broker is not None:
            world.wait_until(lambda: _is_back(world.part("kafka"), done.broker or 0), BACK_S)
            began = time.time()

        def away() -> list[str]:
            return times.still_away(tail, world.people.phones, began, self._closed, LATE_S)

        back = world.wait_until(lambda: not away(), BACK_S)
        stuck = () if back else tuple(away())
        self._closed.clear()
        return Happened(step, *span, done, time.time() - began, stuck)

    # --- the end -----------------------------------------------------------------------------------------------------

    def _settle(self, world: World, load: Workload, tail: Tail) -> float:
        self._tell("the load ends; settling")
        began = time.monotonic()
        left = load.stop()
        if left:
            raise ChaosError(f"{left} records were neither acknowledged nor failed")
        told = moved = began
        before = load.in_flight()
        while (flight := _left(world, load)).total or flight.records or not _is_up(world, tail):
            tail.raise_failure()
            now = time.monotonic()
            if flight != before:
                before, moved = flight, now
            if now - began > SETTLE_S or now - moved > SILENCE_S:
                self._tell(f"not settled: {flight}")
                break
            if now - told > TELL_S:
                told = now
                states = Counter(tail.state(instance) for instance in world.people.phones)
                self._tell(f"in flight: {flight}; instances: {dict(states)}")
            time.sleep(_POLL_S)
        return time.monotonic() - began

    def _judge(self, world: World, load: Workload, tail: Tail) -> Verdict:
        """Recipients and receipts may be behind the log for a moment, so what differs is looked at again."""
        dump = Dump(world.settings)
        kept = stored.settle(world.settings, STORED_S)
        self._tell(f"{kept.events} events are in ClickHouse")
        deadline = time.monotonic() + LOOK_AGAIN_S
        while True:
            verdict = judge(
                evidence.collect(
                    dump,
                    world.simulator,
                    world.people.phones,
                    load.acknowledged,
                    load.requests,
                    [each.claim for each in tail.owned()],
                    tail.positions(),
                    world.settings.kafka.partitions,
                    self._storms(),
                    kept,
                )
            )
            if verdict.clean or time.monotonic() > deadline:
                return verdict
            time.sleep(1.0)

    def _storms(self) -> list[tuple[int, int]]:
        """When only a connector joined and left, since the fault before was waited for."""
        calm = [before.back_s is not None and not before.stuck for before in self._happened]
        return [
            (round(each.began_at * 1000), round(each.ended_at * 1000))
            for number, each in enumerate(self._happened)
            if each.step.fault == "storm" and all(calm[max(0, number - 1) : number])
        ]

    def _keep(self, world: World, tail: Tail, verdict: Verdict) -> None:
        """Beside the data: what differs, who owned what when, and the ledger."""
        path = world.folder / "violations.jsonl"
        path.write_text("".join(json.dumps(each.as_dict()) + "\n" for each in verdict.violations))
        owners = [{"time": each.at, **asdict(each.claim)} for each in tail.owned()]
        (world.folder / "owners.jsonl").write_text("".join(json.dumps(each) + "\n" for each in owners))
        (world.folder / "ledger.json").write_text(json.dumps(world.simulator.ledger(dedupe=False)))
        for line in verdict.lines():
            self._tell(line)
        self._tell(f"kept: {world.folder}; what differs: {path}; what happened: {self._log(world)}")

    def _figures(self, world: World, load: Workload, tail: Tail, verdict: Verdict, settled_s: float) -> dict[str, Any]:
        kills, by_target = 0, Counter[str]()
        for each in self._happened:
            kills += each.done.kills
            by_target[each.step.fault] += each.done.kills
        starts = [each.done.at for each in self._happened] + [time.time()]
        away = defaultdict(list)
        for number, each in enumerate(self._happened):
            if each.step.fault in DEATHS:
                stale = each.step.fault == "stale_commit"
                for instance, since in (each.done.stood_still if stale else each.done.moved).items():
                    away[each.step.fault].append(Away(since, starts[number + 1], (instance,)))
        members = defaultdict(list)
        for instance in world.people.phones:
            members[partition_for(instance, world.settings.kafka.partitions)].append(instance)
        # A connector more joins and stays until it has its share. In a storm it is gone before.
        joins = [(each.began_at, each.done.at) for each in self._happened if each.step.fault == "lose_machine"]
        moves = times.moves(tail.owned(), members, tail.online_after, joins, MOVE_S)
        returns = [times.figures(name, times.returns(away[fault], tail.online_after)) for fault, name in DEATHS.items()]
        broker = [_broker_sample(each) for each in self._happened if each.done.broker is not None]
        drains = [each.done.detail.get("seconds") for each in self._happened if each.step.fault == "drain_connector"]
        return {
            "sessions": len(world.people.phones),
            "connectors": len(world.names),
            "kills": kills,
            "kills_by_target": {name: count for name, count in sorted(by_target.items()) if count},
            "kills_without_work_in_flight": sum(each.done.idle for each in self._happened),
            "faults": dict(sorted(Counter(each.step.fault for each in self._happened).items())),
            "commands": verdict.counts["out: commands"],
            "commands_failed_at_the_producer": len(load.failed),
            "messages_in": verdict.counts["in: accepted by WhatsApp"],
            "messages_received": verdict.counts["out: received"],
            "messages_asked_again": verdict.counts["asked_again"],
            "requests": len(load.requests),
            "events_in_clickhouse": verdict.counts["stored"],
            **{kind: verdict.number(kind) for kind in KINDS},
            **{end: verdict.counts[end] for end in ENDS},
            "ended_otherwise_share": _share(verdict),
            **{name: value for figures in returns for name, value in figures.items()},
            **times.figures("move", moves),
            **times.figures("broker", broker),
            **times.figures("drain", [times.Sample(each) for each in drains if each is not None]),
            "stuck": sum(bool(each.stuck) for each in self._happened),
            "settled_s": settled_s,
        }


def _share(verdict: Verdict) -> float | None:
    """Of the commands whose result is that nobody did, or knows whether somebody did, what they asked for."""
    commands = verdict.counts["out: commands"]
    return sum(verdict.counts[end] for end in OTHERWISE) / commands if commands else None


def _broker_sample(happened: Happened) -> times.Sample:
    """Where the next fault overlaps it, nobody waited for Kafka's return."""
    return times.Sample(happened.back_s or 0.0, cut_short=happened.back_s is None or bool(happened.stuck))


def _left(world: World, load: Workload) -> Flight:
    return replace(load.in_flight(), records=world.sink_lag())


def _is_up(world: World, tail: Tail) -> bool:
    return world.stack.state.ready and all(tail.state(instance) == "online" for instance in world.people.phones)


def _is_back(part: ComponentState, deaths: int) -> bool:
    return part.restarts >= deaths and part.ready


def _heard(world: World, tail: Tail, since: float) -> bool:
    return all(tail.last(instance) > since for instance in world.people.phones)


def _line(happened: Happened) -> str:
    step, done = happened.step, happened.done
    back = "" if happened.back_s is None else f", all back after {happened.back_s:.1f} s"
    stuck = f", NOT BACK: {', '.join(happened.stuck)}" if happened.stuck else ""
    detail = f" {json.dumps(done.detail)}" if done.detail else ""
    records = f", {done.flight.records} records" if done.flight.records else ""
    flight = f"{done.flight.commands} commands, {done.flight.messages} messages{records} in flight"
    return f"#{step.number} {step.fault} {', '.join(done.hit)}{detail}: {flight}{back}{stuck}"


def targets(figures: Mapping[str, Any]) -> list[Target]:
    out = [Target(kind, 0, figures[kind]) for kind in KINDS]
    goals = {
        "failover_p50_s": 1.5,
        "failover_p99_s": 3.0,
        "machine_failover_p99_s": 10.0,
        "move_p99_s": 2.0,
        "drain_p99_s": 2.0,
        "broker_p99_s": 15.0,
        "stand_still_failover_p99_s": 10.0,
    }
    if figures["commands"]:
        out.append(Target("ended_otherwise_share", ENDED_OTHERWISE, figures["ended_otherwise_share"]))
    return out + [
        Target(name, goal, figures[name], lower_bound=name in figures[f"{name.rpartition('_p')[0]}_lower_bounds"])
        for name, goal in goals.items()
        if figures[name] is not None
    ]
