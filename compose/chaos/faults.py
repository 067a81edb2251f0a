"""How each fault is done to a running world. A method per name of compose.chaos.schedule; each returns what it did.

Kills count only with work in flight at what is killed, looked at right before the signal. A connector's and its host's are
commands that the limiter admitted for the instances online there, the limiter's are commands that it has not decided, the
registrar's are requests, Kafka's are all of these, those of sink and ClickHouse are records of the log that are not stored.
The registry has none.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import random
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, get_args

from confluent_kafka import KafkaException

from compose.chaos.proxies import Cable, Cut
from compose.chaos.schedule import Step
from compose.chaos.tail import Tail
from compose.chaos.workload import Flight, Workload
from compose.chaos.world import Site, World
from compose.stack.leash import descendants
from core.faults import ConnectorPoint, SinkPoint
from core.ids import partition_for
from core.kafka.clients import KafkaClients

BURST = 6
IN_FLIGHT_S = 5.0
RESTART_S = 60.0
CRASH_S = 20.0
STORM_PERIOD_S = 2.0
# A connector that says nothing for so long has lost its place (its session time-out is 6 s).
LOST_S = 9.0
JOIN_S = 15.0
EMPTY_GROUP_S = 30.0
SINK = "sink"
HOST = "/host"
# What holds nothing that could be lost.
IDLERS = ("registry",)
# What has its work for a few milliseconds only.
QUICK = ("limiter", "registrar")
MOMENT_S, QUICK_MOMENT_S = 0.08, 0.01
_LOOK_S = 0.003
EXTRA = "connector-extra"
# A round begins when its first record is so old (sink.batch_ms).
SINK_ROUND_S = 2.2
# As a power of ten, in seconds: 5.5 hours.
LONGEST_JUMP = 4.3
# In the order in which a message passes them (connectors/go/internal/host/switches.go).
HOST_POINTS = ("after_ratchet", "before_journal", "after_durable", "after_sending", "after_wire")
# Passed at every start, and at every orderly end.
START_POINTS = ("before_fence", "after_fence", "after_committed", "after_restore", "after_claim", "after_release")


@dataclass(frozen=True, slots=True)
class Done:
    """`hit`: components, from `at` (epoch seconds) on; `moved`: instances that have to come online anew after that time;
    `kills` are the processes killed with work in flight at them, `idle` those killed without."""

    hit: tuple[str, ...]
    at: float
    flight: Flight
    moved: Mapping[str, float] = field(default_factory=dict)
    work: Mapping[str, int] = field(default_factory=dict)  # of what was killed, right before
    kills: int = 0
    idle: int = 0
    broker: int | None = None  # how often Kafka has to have died before it can be back
    detail: dict[str, Any] = field(default_factory=dict)
    # Of `moved`: because their owner stood still, from that time on.
    stood_still: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Provoked:
    """Whether it came to what was asked for; `work` and `online` are as they were last looked at before."""

    reached: bool
    at: float = 0.0
    work: int = 0
    online: tuple[str, ...] = ()


class Faults:
    def __init__(self, world: World, load: Workload, tail: Tail) -> None:
        self._world = world
        self._load = load
        self._tail = tail
        self._instances = list(world.people.phones)

    def do(self, step: Step) -> Done:
        done: Done = getattr(self, step.fault)(step)
        return done

    # --- deaths ------------------------------------------------------------------------------------------------------

    def kill_connector(self, step: Step) -> Done:
        return self._kill([self._connector(step).name], step)

    def drain_connector(self, step: Step) -> Done:
        """SIGTERM with work in flight: it ends in order, and its supervisor starts it again."""
        site = self._connector(step)
        self._await_work([site.name], step.luck)
        pid, online, flight = self._pid(site.name), self._online_with(site.name), self._load.in_flight()
        work, at = self._work(site.name), time.time()
        if pid is None or not _signal(pid, signal.SIGTERM):
            return Done((), at, flight, detail={"none": f"{site.name} does not run now"})
        self._world.wait_until(lambda: not _runs(pid), RESTART_S, _LOOK_S)
        moved, detail = dict.fromkeys(online, at), {"seconds": round(time.time() - at, 3)}
        return Done((site.name,), at, flight, moved, {site.name: work}, detail=detail)

    def kill_host(self, step: Step) -> Done:
        """The child of a connector, which starts it again."""
        return self._kill([self._connector(step).name + HOST], step)

    def kill_limiter(self, step: Step) -> Done:
        return self._kill(["limiter"], step)

    def kill_registrar(self, step: Step) -> Done:
        return self._kill(["registrar"], step)

    def kill_registry(self, step: Step) -> Done:
        return self._kill(["registry"], step)

    def kill_broker(self, step: Step) -> Done:
        deaths = self._world.part("kafka").restarts
        return replace(self._kill(["kafka"], step), broker=deaths + 1)

    def kill_all(self, step: Step) -> Done:
        """Every process of ours within a few milliseconds."""
        return self._kill([*self._world.names, "limiter", "registrar"], step)

    def kill_sink(self, step: Step) -> Done:
        return self._kill_of_analytics(SINK, step)

    def kill_clickhouse(self, step: Step) -> Done:
        return self._kill_of_analytics("clickhouse", step)

    def _kill_of_analytics(self, name: str, step: Step) -> Done:
        """With records on their way into ClickHouse, at a random moment of the sink's round."""
        self._load.burst(self._instances, BURST)
        self._world.wait_until(lambda: self._world.sink_lag() > 0, IN_FLIGHT_S)
        time.sleep(step.luck.uniform(0.0, SINK_ROUND_S))
        flight, pid = self._load.in_flight(), self._world.pid(name)
        flight = replace(flight, records=self._world.sink_lag())
        at = time.time()
        dead = int(_signal(pid, signal.SIGKILL))
        return Done((name,), at, flight, {}, {name: flight.records}, *_counted(dead, flight.records))

    def sink_point(self, step: Step) -> Done:
        """The sink is killed, and started so that it kills itself at a chosen place of its round."""
        point: SinkPoint = step.luck.choice(get_args(SinkPoint))
        faults = {"crash": {"point": point, "nth": step.luck.randint(1, 3)}}
        restarts = self._world.part(SINK).restarts
        self._put_faults(SINK, faults)
        first = self._kill_of_analytics(SINK, step)
        found = self._provoke(SINK, lambda: self._world.part(SINK).restarts > restarts + 1)
        return _also(first, found, {"point": faults["crash"]})

    def clock_jump(self, step: Step) -> Done:
        """Killed, and started so that its clock is set once, by a second to six hours, forth or back."""
        names = [*self._world.names, "limiter", "registrar"]
        name = names[step.target % len(names)]
        by_ms = step.luck.choice((-1, 1)) * round(1000 * 10 ** step.luck.uniform(0.0, LONGEST_JUMP))
        clock = {"after_s": round(step.luck.uniform(1.0, 4.0), 1), "by_ms": by_ms}
        restarts = self._world.part(name).restarts
        done = self._kill_into(name, {"clock": clock}, step)
        self._world.wait_until(lambda: self._is_again(name, restarts), RESTART_S)
        # Load before it, at it and after it.
        end = time.monotonic() + 2 * clock["after_s"]
        while time.monotonic() < end:
            self._load.burst(self._instances, BURST)
            time.sleep(0.5)
        return replace(done, detail={"clock": clock})

    def crash_point(self, step: Step) -> Done:
        """Killed, and started so that it kills itself at a chosen place of its work."""
        site = self._connector(step)
        faults = _crash(step.luck)
        restarts = self._world.part(site.name).restarts
        first = self._kill_into(site.name, faults, step)
        self._world.wait_until(lambda: self._is_again(site.name, restarts), RESTART_S)
        detail: dict[str, Any] = {"point": faults}
        if "crash" in faults:
            if faults["crash"]["point"] == "after_release":
                self._signal(site.name, signal.SIGTERM)
            found = self._provoke(site.name, lambda: self._world.part(site.name).restarts > restarts + 1)
            return _also(first, found, detail)
        pid = self._world.wait_until(lambda: self._world.host_pid(site.name), RESTART_S)
        found = self._provoke(site.name + HOST, lambda: self._world.host_pid(site.name) != pid)
        # The host's successors would die there again: the next start of the connector is a plain one.
        last, done = self._kill([site.name], step), _also(first, found, detail)
        moved = {**done.moved, **last.moved}
        return replace(done, moved=moved, kills=done.kills + last.kills, idle=done.idle + last.idle)

    def _kill_into(self, name: str, faults: dict[str, Any], step: Step) -> Done:
        """Killed with work in flight; its next start has these faults."""
        self._put_faults(name, faults)
        return self._kill([name], step)

    def _put_faults(self, name: str, faults: dict[str, Any]) -> None:
        """For its next start."""
        always = self._world.options.faults
        wanted = {**always, **faults, "host": {**always.get("host", {}), **faults.get("host", {})}}
        self._world.stack.files.put_next_env(name, {"WHARF_TEST_FAULTS": json.dumps(wanted)})

    def _is_again(self, name: str, restarts: int) -> bool:
        """It is ready after that death, or has died again at its point already."""
        part = self._world.part(name)
        return part.restarts > restarts + 1 or (part.restarts > restarts and part.ready)

    def _provoke(self, name: str, happened: Callable[[], bool]) -> Provoked:
        """Load for whom it owns now, or for all, so that the point is reached."""
        end, found = time.monotonic() + CRASH_S, Provoked(False)
        while time.monotonic() < end:
            self._give_work([name])
            burst_end = time.monotonic() + 0.5
            while time.monotonic() < burst_end:
                if happened():
                    return replace(found, reached=True, at=time.time())
                # What died leaves its work behind, which is no longer looked at.
                if (pid := self._pid(name)) is not None and _runs(pid):
                    found = replace(found, work=self._work(name), online=tuple(self._online_with(name)))
                time.sleep(_LOOK_S)
        return found

    def _kill(self, names: Sequence[str], step: Step) -> Done:
        self._await_work(names, step.luck)
        pids = {name: self._pid(name) for name in names}
        flight = self._load.in_flight()
        online = [instance for name in names for instance in self._online_with(name)]
        work = {name: self._work(name) for name in names}
        at = time.time()
        dead = [name for name, pid in pids.items() if _signal(pid, signal.SIGKILL)]
        kills = sum(work[name] > 0 for name in dead)
        return Done(tuple(dead), at, flight, dict.fromkeys(online, at), work, kills, len(dead) - kills)

    def _await_work(self, names: Sequence[str], luck: random.Random) -> None:
        """Until a random moment at which all of them have something to do, or no longer than a while."""
        workers = [name for name in names if name not in IDLERS]
        quick = any(name in QUICK for name in workers)
        end = time.monotonic() + IN_FLIGHT_S

        def busy() -> bool:
            return all(self._work(name) > 0 for name in workers)

        while time.monotonic() < end:
            self._give_work(workers)
            self._world.wait_until(busy, 0.5, _LOOK_S)
            time.sleep(luck.uniform(0.0, QUICK_MOMENT_S if quick else MOMENT_S))
            if busy():
                return

    def _give_work(self, names: Sequence[str]) -> None:
        online = [instance for name in names for instance in self._online_with(name)]
        self._load.burst(online or self._instances, BURST)
        if "registrar" in names:
            self._load.ask(self._instances[:BURST])

    def _work(self, name: str) -> int:
        """What is in flight at that very component."""
        if name in IDLERS:
            return 0
        if name == SINK:
            return self._world.sink_lag()
        if name == "kafka":
            return self._load.in_flight().total
        if name == "limiter":
            return self._load.undecided()
        if name == "registrar":
            return self._load.unanswered()
        return self._load.at_connectors(set(self._online_with(name)))

    def _pid(self, name: str) -> int | None:
        slot, _, host = name.partition("/")
        return self._world.host_pid(slot) if host else self._world.pid(name)

    def _online_with(self, name: str) -> list[str]:
        """Instances that are online with this run of a connector, or of its host, by the claims and events in the log."""
        slot = name.removesuffix(HOST)
        if slot not in self._world.names or (pid := self._pid(name)) is None or (connector := self._pid(slot)) is None:
            return []
        since, claimed = self._world.started_at(pid), self._world.started_at(connector)
        if since is None or claimed is None:
            return []
        return self._share_of(slot, claimed, since)

    def _aim(self, owned: Sequence[str], step: Step) -> Flight:
        """Work in flight at those instances, at a random moment of its way."""
        targets = owned or self._instances
        self._load.burst(targets, BURST)
        instances = set(targets) if owned else None
        self._world.wait_until(lambda: self._load.in_flight(instances).total > 0, IN_FLIGHT_S)
        time.sleep(step.luck.uniform(0.0, MOMENT_S))
        return self._load.in_flight(instances)

    def pause_point(self, step: Step) -> Done:
        """Killed, and started so that it stands still at a chosen place of its work; then it goes on."""
        points = [point for point in get_args(ConnectorPoint) if point != "after_release"]
        return self._pause_at(step, step.luck.choice(points))

    def stale_commit(self, step: Step) -> Done:
        """It stands still between its offsets and its commit until another one owns its partitions; then it commits."""
        return self._pause_at(step, "before_commit")

    def _pause_at(self, step: Step, point: ConnectorPoint) -> Done:
        site = self._connector(step)
        faults = {"crash": {"point": point, "nth": _nth(step.luck, point), "signal": "STOP"}}
        killed = self._world.pid(site.name)
        done = self._kill_into(site.name, faults, step)
        self._world.wait_until(lambda: self._world.pid(site.name) not in (None, killed), RESTART_S)
        pid = self._world.pid(site.name)
        found = Provoked(False) if pid is None else self._provoke(site.name, lambda: _stands(pid))
        claims, count = self._claims_of(site.name), self._world.settings.kafka.partitions
        theirs = [one for one in self._instances if claims.get(partition_for(one, count), 0.0) > done.at]
        if found.reached:
            time.sleep(step.lasts_s)
            _signal(pid, signal.SIGCONT)
        detail = {"point": faults["crash"], "reached": found.reached, "seconds": round(step.lasts_s, 1)}
        # Whoever stands still for so long is no owner any more: another one takes over, for as long as that takes.
        lost = found.reached and step.lasts_s > LOST_S
        stood_still = dict.fromkeys(theirs if lost else (), found.at)
        return replace(done, moved={**done.moved, **stood_still}, stood_still=stood_still, detail=detail)

    # --- standing still, being cut off -------------------------------------------------------------------------------

    def pause_connector(self, step: Step) -> Done:
        """SIGSTOP, then SIGCONT; half of the times its session host too, as when a machine stands still."""
        site = self._connector(step)
        flight = self._aim(self._online_with(site.name), step)
        pid = self._world.pid(site.name)
        if pid is None:
            return Done((), time.time(), flight, detail={"none": f"{site.name} does not run now"})
        whole = step.luck.random() < 0.5
        pids = [pid, *(descendants(pid) if whole else ())]
        at = time.time()
        for each in pids:
            _signal(each, signal.SIGSTOP)
        time.sleep(step.lasts_s)
        for each in reversed(pids):
            _signal(each, signal.SIGCONT)
        return Done((site.name,), at, flight, detail={"whole": whole, "seconds": round(step.lasts_s, 1)})

    def pause_process(self, step: Step) -> Done:
        """SIGSTOP, then SIGCONT: of the limiter, the registrar, Kafka, or a session host whose connector goes on."""
        name = step.luck.choice(("limiter", "registrar", "kafka", self._connector(step).name + HOST))
        flight = self._aim(self._online_with(name), step)
        pid, at = self._pid(name), time.time()
        if not _signal(pid, signal.SIGSTOP):
            return Done((), at, flight, detail={"none": f"{name} does not run now"})
        try:
            time.sleep(step.lasts_s)
        finally:
            _signal(pid, signal.SIGCONT)
        return Done((name,), at, flight, detail={"seconds": round(step.lasts_s, 1)})

    def restart_broker(self, step: Step) -> Done:
        """SIGTERM, so that Kafka ends in order; its supervisor starts it."""
        flight, deaths = self._aim((), step), self._world.part("kafka").restarts
        at = time.time()
        self._signal("kafka", signal.SIGTERM)
        return Done(("kafka",), at, flight, broker=deaths + 1)

    def cut_machine(self, step: Step) -> Done:
        """A connector loses Kafka and its host WhatsApp at once, for longer than its place in the group is kept."""
        site = self._connector(step)
        online = self._online_with(site.name)
        flight, at = self._aim(online, step), time.time()
        cables = (site.kafka, site.whatsapp)
        for cable in cables:
            self._world.cables.cut(cable, "reset")
        try:
            time.sleep(step.lasts_s)
        finally:
            for cable in cables:
                self._world.cables.mend(cable)
        moved = dict.fromkeys(online, at)
        return Done((site.name, site.name + HOST), at, flight, moved, detail={"seconds": round(step.lasts_s, 1)})

    def cut_kafka(self, step: Step) -> Done:
        site = self._connector(step)
        return self._cut(step, site.name, site.kafka)

    def cut_whatsapp(self, step: Step) -> Done:
        site = self._connector(step)
        return self._cut(step, f"{site.name}/host", site.whatsapp)

    def _cut(self, step: Step, name: str, cable: Cable) -> Done:
        flight = self._aim(self._online_with(name), step)
        how: Cut = step.luck.choice(("silent", "reset"))
        at = time.time()
        self._world.cables.cut(cable, how)
        try:
            time.sleep(step.lasts_s)
        finally:
            self._world.cables.mend(cable)
        return Done((name,), at, flight, detail={"how": how, "seconds": round(step.lasts_s, 1)})

    # --- the group ---------------------------------------------------------------------------------------------------

    def storm(self, step: Step) -> Done:
        """A connector more joins, leaves 2 s after its first claim, joins …"""
        flight, at = self._aim((), step), time.time()
        end, joined = time.monotonic() + step.lasts_s, 0
        while time.monotonic() < end:
            extra, began = self._world.start_extra(EXTRA), time.time()
            try:
                claimed = self._world.wait_until(partial(self._has_claimed, EXTRA, began), JOIN_S)
                extra.wait(STORM_PERIOD_S)
            finally:
                extra.stop(RESTART_S)
            joined += bool(claimed)
            self._forget_extra()
        return Done((EXTRA,), at, flight, detail={"joined": joined})

    def _has_claimed(self, slot: str, since: float) -> bool:
        return any(at > since for at in self._claims_of(slot).values())

    def lose_machine(self, step: Step) -> Done:
        """A connector more joins, gets its share, and dies with its host; nobody starts it again."""
        extra = self._world.start_extra(EXTRA)
        try:
            self._world.wait_until(lambda: self._has_its_share(EXTRA), RESTART_S)
            self._aim(self._share_of(EXTRA), step)
            flight, share = self._load.in_flight(), self._share_of(EXTRA)
            work, at = self._load.at_connectors(set(share)), time.time()
        finally:
            extra.kill()
        back = self._world.wait_until(lambda: all(self._tail.online_after(one, at) for one in share), RESTART_S)
        self._forget_extra()
        detail = {"instances": len(share), "back": bool(back)}
        moved = dict.fromkeys(share, at)
        return Done((EXTRA,), at, flight, moved, {EXTRA: work}, *_counted(1, work), detail=detail)

    def _has_its_share(self, slot: str) -> bool:
        """As many partitions as an even share, and all their instances are online there."""
        count = self._world.settings.kafka.partitions
        claims = self._claims_of(slot)
        theirs = [one for one in self._instances if partition_for(one, count) in claims]
        return len(claims) >= count // (len(self._world.names) + 1) and len(theirs) == len(self._share_of(slot))

    def _share_of(self, slot: str, claimed: float = 0.0, since: float = 0.0) -> list[str]:
        """Instances that are online with that slot, by the claims in the log, claimed and come online after those times."""
        claims, count = self._claims_of(slot), self._world.settings.kafka.partitions
        return [
            one
            for one in self._instances
            if (at := claims.get(partition_for(one, count))) is not None
            and at > claimed
            and self._tail.state(one) == "online"
            and self._tail.online_after(one, max(at, since)) is not None
        ]

    def _claims_of(self, slot: str) -> dict[int, float]:
        """The partitions that slot owns, by the log, and since when."""
        newest = {each.claim.partition: each for each in self._tail.owned()}
        return {
            partition: mark.at
            for partition, mark in newest.items()
            if (mark.claim.kind, mark.claim.slot) == ("claim", slot)
        }

    def _forget_extra(self) -> None:
        """A static member keeps its place until it says that it will not come back."""
        leaving = self._world.start_extra(EXTRA, "--leave")
        try:
            leaving.wait(STORM_PERIOD_S * 5)
        finally:
            leaving.stop(RESTART_S)

    def lose_offsets(self, step: Step) -> Done:
        """The group's offsets are deleted while no connector can say anything."""
        names = self._world.names
        flight = self._aim((), step)
        group = f"{self._world.settings.kafka.prefix}connector"
        admin = KafkaClients(self._world.settings.kafka, "wharf-chaos").admin()
        online = {name: self._online_with(name) for name in names}
        pids = {name: self._pid(name) for name in names}
        for pid in pids.values():
            _signal(pid, signal.SIGSTOP)
        try:
            deleted = self._world.wait_until(lambda: _delete_group(admin, group), EMPTY_GROUP_S)
        finally:
            work = {name: self._load.at_connectors(set(online[name])) for name in names}
            at = time.time()
            dead = [name for name, pid in pids.items() if _signal(pid, signal.SIGKILL)]
        kills = sum(work[name] > 0 for name in dead)
        moved = {instance: at for name in names for instance in online[name]}
        return Done(tuple(names), at, flight, moved, work, kills, len(dead) - kills, detail={"deleted": bool(deleted)})

    # --- WhatsApp's side ---------------------------------------------------------------------------------------------

    def deliveries(self, step: Step) -> Done:
        """Doubled, held, damaged, and the same id under new ciphertext."""
        chosen = self._some(step.luck)
        kind = step.luck.choice(("duplicate", "corrupt", "same_id_new_ciphertext", "hold_delivery"))
        value: Any = True if kind == "hold_delivery" else step.luck.randint(1, 4)
        return self._simulated(step, chosen, kind, value)

    def acks(self, step: Step) -> Done:
        """Acks of sends are held, for longer than a send waits or shorter; or they are lost; or receipts are."""
        chosen = self._some(step.luck)
        kind = step.luck.choice(("hold_ack", "drop_ack", "drop_receipts"))
        return self._simulated(step, chosen, kind, step.luck.randint(1, 4) if kind == "drop_ack" else True)

    def _simulated(self, step: Step, chosen: list[str], kind: str, value: Any) -> Done:
        flight, at = self._aim(chosen, step), time.time()
        phones = [self._world.people.phones[instance] for instance in chosen]
        for phone in phones:
            self._world.simulator.faults(phone, **{kind: value})
        try:
            time.sleep(step.lasts_s)
        finally:
            if value is True:
                for phone in phones:
                    self._world.simulator.faults(phone, **{kind: False})
        detail = {"kind": kind, "instances": len(chosen), "seconds": round(step.lasts_s, 1)}
        return Done(("simulator",), at, flight, detail=detail)

    def kick(self, step: Step) -> Done:
        """WhatsApp ends connections: without a word, or with a stream error."""
        chosen = self._some(step.luck)
        how: dict[str, Any] = step.luck.choice(({"hard": True}, {"code": "503"}, {"code": "515"}))
        flight, at = self._aim(chosen, step), time.time()
        for instance in chosen:
            self._world.simulator.kick(self._world.people.phones[instance], **how)
        return Done(("simulator",), at, flight, detail={"how": how, "instances": len(chosen)})

    # --- the disk ----------------------------------------------------------------------------------------------------

    def disk_full(self, step: Step) -> Done:
        """Nothing can be written until the room is given back."""
        flight, at = self._aim((), step), time.time()
        filler = self._world.folder / "kafka" / "filler"
        deaths = self._world.part("kafka").restarts
        end = time.monotonic() + step.lasts_s
        while time.monotonic() < end:
            _fill(filler)
            time.sleep(0.1)
        filler.unlink()
        ended = self._world.part("kafka").restarts - deaths
        detail = {"seconds": round(step.lasts_s, 1), "broker_ended": ended}
        return Done(("kafka",), at, flight, broker=deaths + ended, detail=detail)

    # --- inside ------------------------------------------------------------------------------------------------------

    def _connector(self, step: Step) -> Site:
        return self._world.sites[step.target % len(self._world.sites)]

    def _some(self, luck: random.Random) -> list[str]:
        return luck.sample(self._instances, luck.randint(1, max(1, len(self._instances) // 3)))

    def _signal(self, name: str, number: int) -> bool:
        return _signal(self._world.pid(name), number)


def _signal(pid: int | None, number: int) -> bool:
    """False when it has gone already."""
    if pid is None:
        return False
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
        return True
    return False


def _counted(dead: int, in_flight: int) -> tuple[int, int]:
    """Kills with and without work in flight."""
    return (dead, 0) if in_flight else (0, dead)


def _also(first: Done, found: Provoked, detail: dict[str, Any]) -> Done:
    """The death at a point after the one that made it start so."""
    died = int(found.reached)
    kills, idle = _counted(died, found.work)
    return replace(
        first,
        moved={**first.moved, **(dict.fromkeys(found.online, found.at) if died else {})},
        kills=first.kills + kills,
        idle=first.idle + idle,
        detail={**detail, "reached": found.reached, "work": found.work},
    )


def _crash(luck: random.Random) -> dict[str, Any]:
    """WHARF_TEST_FAULTS of one start."""
    if luck.random() < 0.3:
        return {"host": {"crash_at": [[luck.choice(HOST_POINTS), luck.randint(1, 12)]]}}
    point = luck.choice(get_args(ConnectorPoint))
    return {"crash": {"point": point, "nth": _nth(luck, point)}}


def _nth(luck: random.Random, point: str) -> int:
    """A start passes the points of a take-over once."""
    return 1 if point in START_POINTS else luck.randint(1, 12)


def _stands(pid: int) -> bool:
    """Whether it was stopped by a signal."""
    return _state(pid) == "T"


def _runs(pid: int) -> bool:
    """Neither gone nor a zombie."""
    return _state(pid) not in ("", "Z", "X")


def _state(pid: int) -> str:
    """As the kernel names it; nothing when it is gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return stat.rpartition(")")[2].split()[0]


def _delete_group(admin: Any, group: str) -> bool:
    try:
        admin.delete_consumer_groups([group])[group].result(10.0)
    except KafkaException:
        return False  # it has members still
    return True


def _fill(filler: Any) -> None:
    """Takes whatever room there is."""
    with filler.open("ab", buffering=0) as file:
        try:
            while file.write(bytes(1 << 16)):
                continue
        except OSError as cause:
            if cause.errno != errno.ENOSPC:
                raise
