"""The whatsmeow driver: sessions in Go host processes, one for real WhatsApp and one for the simulator, each started
when first needed and started again when it dies.

WhatsApp's root key is one variable of a host process, so the two kinds never share one. The simulator's address is
asked from its control API, and only when settings say that there is one.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from connectors.driver import Capability, Closed, Delivery, DriverHealth, Entry, Lost, SessionStart
from connectors.drivers.whatsmeow import host_pb2 as pb
from connectors.drivers.whatsmeow.process import HostProcess
from core.clock import Clock
from core.settings import SimulatorSettings, SupervisionSettings
from core.telemetry.logs import get_logger
from core.telemetry.metrics import (
    HOST_CPU_SECONDS,
    HOST_FRAMES_HELD,
    HOST_RESTARTS,
    HOST_RSS_BYTES,
    HOST_UNDECRYPTABLE,
    Metrics,
)

PROTOCOL_VERSION = 1
CREDIT_BYTES = 32 * 1024 * 1024
# Restored items travel in frames of about this size.
RESTORE_FRAME_BYTES = 1 << 20
STOP_GRACE_S = 3.0
_RESTART_WAITS_S = (0.0, 0.5, 1.0, 2.0, 5.0, 10.0)
# A lease that is not longer by so much is not worth a frame.
_LEASE_STEP_S = 0.1
# A host that lived this long starts again at once.
_STABLE_S = 30.0


@dataclass(frozen=True, slots=True)
class HostOptions:
    """How the hosts are run. `arguments` are passed as they are; `crash_at` (tests only) is named right after hello."""

    binary: Path
    arguments: tuple[str, ...] = ()
    crash_at: tuple[tuple[str, int], ...] = ()
    verbose: bool = False
    supervision: SupervisionSettings = field(default_factory=SupervisionSettings)


@dataclass(slots=True)
class _Host:
    """One kind of host: at most one process at a time."""

    simulated: bool
    process: HostProcess | None = None
    ready: bool = False
    started_at: float = 0.0
    start_again_at: float = 0.0
    failures: int = 0
    starting: bool = False
    detail: str = "not needed yet"


class WhatsmeowDriver:
    """Implements connectors.driver.Driver."""

    name = "whatsmeow"
    capabilities = frozenset(Capability)

    def __init__(self, options: HostOptions, simulator: SimulatorSettings, clock: Clock, metrics: Metrics) -> None:
        self._options = options
        self._simulator = simulator
        self._clock = clock
        self._metrics = metrics
        self._lock = threading.RLock()
        self._hosts = {simulated: _Host(simulated) for simulated in (False, True)}
        self._where: dict[int, _Host] = {}
        self._deliveries: list[Delivery] = []
        self._wake: Callable[[], None] = lambda: None
        self._stopped = False
        self._lease = 0.0

    def available(self, simulated: bool) -> bool:
        with self._lock:
            host = self._hosts[simulated]
            if host.ready:
                return True
            if simulated and not self._simulator.enabled:
                return False
            if not (self._stopped or host.starting or host.process) and self._clock.monotonic() >= host.start_again_at:
                host.starting = True
                threading.Thread(target=self._start, args=(host,), name="host-start", daemon=True).start()
            return False

    def open(self, start: SessionStart) -> None:
        opening = pb.OpenSession(
            session=start.session,
            instance_id=start.instance_id,
            simulated=start.simulated,
            settings=start.settings,
        )
        with self._lock:
            host = self._hosts[start.simulated]
            if host.process is None or not host.ready:
                self._deliver(Lost(frozenset((start.session,)), "the session host is not running"))
                return
            self._where[start.session] = host
            host.process.send(pb.ToHost(open_session=opening))
            for restore in _restore_frames(start):
                host.process.send(pb.ToHost(restore_items=restore))

    def lease(self, until: float) -> None:
        with self._lock:
            if until - self._lease < _LEASE_STEP_S:
                return
            self._lease = until
            for host in self._hosts.values():
                self._tell_lease(host)

    def close(self, session: int, reason: str) -> None:
        self._to(session, pb.ToHost(close_session=pb.CloseSession(session=session, reason=reason)))

    def close_all(self, reason: str) -> None:
        with self._lock:
            sessions = list(self._where)
        for session in sessions:
            self.close(session, reason)

    def pair(self, session: int, command_id: str, phone: str) -> None:
        self._to(session, pb.ToHost(pair=pb.Pair(session=session, command_id=command_id, phone=phone)))

    def logout(self, session: int, command_id: str) -> None:
        self._to(session, pb.ToHost(logout=pb.Logout(session=session, command_id=command_id)))

    def send(self, request: pb.Send) -> None:
        self._to(request.session, pb.ToHost(send=request))

    def mark(self, request: pb.Mark) -> None:
        self._to(request.session, pb.ToHost(mark=request))

    def durable(self, positions: Sequence[tuple[int, int]]) -> None:
        for process, mine in self._by_process(positions):
            durable = pb.Durable(positions=[pb.Position(session=s, position=p) for s, p in mine])
            process.send(pb.ToHost(durable=durable))

    def credit(self, session_bytes: Sequence[tuple[int, int]]) -> None:
        for process, mine in self._by_process(session_bytes):
            process.send(pb.ToHost(credit=pb.Credit(bytes=sum(count for _, count in mine))))

    def forget(self, session: int) -> None:
        with self._lock:
            self._where.pop(session, None)

    def take(self) -> list[Delivery]:
        with self._lock:
            taken, self._deliveries = self._deliveries, []
        return taken

    def on_delivery(self, wake: Callable[[], None]) -> None:
        self._wake = wake

    def health(self) -> DriverHealth:
        with self._lock:
            used = [
                host for host in self._hosts.values() if host.ready or host.starting or host.failures or host.process
            ]
            healthy = all(host.ready for host in used)
            words = [f"{_kind(host.simulated)}: {host.detail}" for host in used]
        return DriverHealth(healthy, "; ".join(words) or "no session asked for a host yet")

    def stop(self) -> None:
        with self._lock:
            self._stopped = True
            processes = [host.process for host in self._hosts.values() if host.process is not None]
        for process in processes:
            process.stop(STOP_GRACE_S)

    # ------------------------------------------------------------------ inside

    def _to(self, session: int, message: pb.ToHost) -> None:
        with self._lock:
            host = self._where.get(session)
            if host is not None and host.process is not None:
                host.process.send(message)

    def _tell_lease(self, host: _Host) -> None:
        if host.ready and host.process is not None and self._lease:
            host.process.send(pb.ToHost(lease=pb.Lease(until_ms=int(self._lease * 1000))))

    def _by_process(self, pairs: Sequence[tuple[int, int]]) -> list[tuple[HostProcess, list[tuple[int, int]]]]:
        with self._lock:
            out: dict[bool, list[tuple[int, int]]] = {}
            for session, value in pairs:
                host = self._where.get(session)
                if host is not None:
                    out.setdefault(host.simulated, []).append((session, value))
            return [
                (process, mine)
                for simulated, mine in out.items()
                if (process := self._hosts[simulated].process) is not None
            ]

    def _deliver(self, delivery: Delivery) -> None:
        first = not self._deliveries
        self._deliveries.append(delivery)
        if first:
            self._wake()

    def _start(self, host: _Host) -> None:
        """In a thread of its own: the simulator's control API may take its time."""
        hello = _hello(self._options)
        try:
            if host.simulated:
                hello.simulator.CopyFrom(simulator_info(self._simulator.control_url))
            process = HostProcess(
                self._options.binary,
                self._options.arguments,
                os.environ,
                lambda message, size: self._on_frame(host, message, size),
                lambda reason: self._on_gone(host, reason),
            )
        except (httpx.HTTPError, OSError, ValueError) as trouble:
            get_logger(__name__).warning("host_start_failed", kind=_kind(host.simulated), error=trouble)
            with self._lock:
                host.starting = False
                self._start_later(host, f"does not start: {trouble}")
            return
        with self._lock:
            host.process, host.starting = process, False
            host.started_at = self._clock.monotonic()
            host.detail = f"starting, pid {process.pid}"
        process.send(pb.ToHost(hello=hello))
        for point, passage in self._options.crash_at:
            process.send(pb.ToHost(crash_at=pb.CrashAt(point=point, passage=passage)))

    def _start_later(self, host: _Host, detail: str) -> None:
        wait = _RESTART_WAITS_S[min(host.failures, len(_RESTART_WAITS_S) - 1)]
        host.failures += 1
        host.start_again_at = self._clock.monotonic() + wait
        host.detail = detail

    def _on_frame(self, host: _Host, message: pb.FromHost, size: int) -> None:
        """From the reader thread of the host."""
        body = message.WhichOneof("body")
        with self._lock:
            if body == "entry":
                self._deliver(Entry(message.entry.session, message.entry, size))
            elif body == "closed":
                closed = message.closed
                self._deliver(Closed(closed.session, closed.reason, closed.may_reopen))
            elif body == "hello_reply":
                self._on_hello(host, message.hello_reply)
            elif body == "stats":
                self._measure(host, message.stats)

    def _measure(self, host: _Host, stats: pb.HostStats) -> None:
        kind = _kind(host.simulated)
        for name, value in (
            (HOST_RSS_BYTES, stats.rss_bytes),
            (HOST_CPU_SECONDS, stats.cpu_ms / 1000),
            (HOST_FRAMES_HELD, stats.frames_held),
            (HOST_UNDECRYPTABLE, stats.undecryptable),
        ):
            self._metrics.gauge(name).labels(kind=kind).set(value)

    def _on_hello(self, host: _Host, reply: pb.HelloReply) -> None:
        if reply.error or reply.protocol_version != PROTOCOL_VERSION:
            host.detail = f"refused: {reply.error or f'protocol version {reply.protocol_version}'}"
            get_logger(__name__).error("host_refused", kind=_kind(host.simulated), detail=host.detail)
            return
        host.ready = True
        self._tell_lease(host)
        pid = host.process.pid if host.process is not None else 0
        host.detail = f"ready, pid {pid}, whatsmeow {reply.library_version}"
        get_logger(__name__).info("host_ready", kind=_kind(host.simulated), pid=pid, simulated=host.simulated)
        self._wake()

    def _on_gone(self, host: _Host, reason: str) -> None:
        with self._lock:
            lost = frozenset(session for session, where in self._where.items() if where is host)
            for session in lost:
                del self._where[session]
            if host.process is not None and self._clock.monotonic() - host.started_at > _STABLE_S:
                host.failures = 0
            host.process, host.ready = None, False
            self._start_later(host, f"gone: {reason}")
            if self._stopped:
                return
            self._deliver(Lost(lost, reason))
        self._metrics.counter(HOST_RESTARTS).inc()
        get_logger(__name__).error("host_gone", kind=_kind(host.simulated), reason=reason, sessions=len(lost))


def _hello(options: HostOptions) -> pb.Hello:
    times = options.supervision
    return pb.Hello(
        protocol_version=PROTOCOL_VERSION,
        credit_bytes=CREDIT_BYTES,
        verbose=options.verbose,
        leases=True,
        parallel_starts=times.parallel_starts,
        supervision=pb.Supervision(
            keepalive_min_ms=times.keepalive_min_ms,
            keepalive_max_ms=times.keepalive_max_ms,
            keepalive_answer_ms=times.keepalive_answer_ms,
            silence_ms=times.silence_ms,
            login_ms=times.login_ms,
            pair_watchdog_ms=times.pair_watchdog_ms,
            reconnect_first_ms=times.reconnect_first_ms,
            reconnect_most_ms=times.reconnect_most_ms,
        ),
    )


def simulator_info(control_url: str) -> pb.Simulator:
    """Where the simulated WhatsApp is, from its control API."""
    answer = httpx.get(f"{control_url}/v1/info", timeout=5.0)
    answer.raise_for_status()
    info = answer.json()
    return pb.Simulator(
        address=info["whatsapp_address"],
        root_public_key=bytes.fromhex(info["root_public_key"]),
        tls_ca_pem=info["tls_ca_pem"],
    )


def _kind(simulated: bool) -> str:
    return "simulated" if simulated else "real"


def _restore_frames(start: SessionStart) -> list[pb.RestoreItems]:
    frames = [pb.RestoreItems(session=start.session)]
    size = 0
    for name, value in start.items:
        if size > RESTORE_FRAME_BYTES:
            frames.append(pb.RestoreItems(session=start.session))
            size = 0
        frames[-1].items.add(name=name, value=value)
        size += len(name) + len(value)
    frames[-1].last = True
    return frames
