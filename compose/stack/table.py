"""The components of the local stack, from the settings: names, commands, needs, ports, readiness. One row each."""

from __future__ import annotations

import random
import re
import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from compose.stack import ports, probes
from compose.stack.component import Component, StackError
from compose.stack.kafka_node import KafkaNode
from compose.toolchain import kafka_archive, layout
from compose.toolchain.java import find_java
from core.settings import Settings, env_name

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Plan:
    """`env` is what every process of the stack, and every command that wants to reach it, is given."""

    components: tuple[Component, ...]
    env: Mapping[str, str]
    ports: Mapping[str, int]
    notes: tuple[str, ...]


class PortChooser:
    """Ports by name: one that is set must be free; else the one used last time, the usual one, or any free one."""

    def __init__(self, remembered: Mapping[str, int], rng: random.Random) -> None:
        self._remembered = remembered
        self._rng = rng
        self.chosen: dict[str, int] = {}
        self.notes: list[str] = []

    def choose(self, name: str, *, wanted: int | None = None, usual: int | None = None) -> int:
        self.chosen[name] = port = self._pick(name, wanted, usual)
        return port

    def _pick(self, name: str, wanted: int | None, usual: int | None) -> int:
        taken = set(self.chosen.values())
        if wanted:
            if wanted in taken or not ports.is_free(wanted):
                holder = _holder(wanted)
                raise StackError(f"port {wanted}, set for {name}, is taken by {holder}: free it or set another")
            return wanted
        for port in (self._remembered.get(name), usual):
            if port and port not in taken and ports.is_free(port):
                return port
        port = ports.free_port(self._rng, taken)
        if usual and name not in self._remembered:
            self.notes.append(f"{name}: port {usual} is taken by {_holder(usual)}, using {port}")
        return port


def _holder(port: int) -> str:
    return ports.holder(port) or "a process of another user"


def slots(first: str, count: int) -> list[str]:
    """So many slots, counted on from that one: `berlin`, `berlin-2`, or `connector-4`, `connector-5`."""
    numbered = re.fullmatch(r"(.+)-([1-9][0-9]*)", first)
    stem, number = (numbered[1], int(numbered[2])) if numbered else (first, 1)
    return [first, *(f"{stem}-{number + more}" for more in range(1, count))][:count]


def plan(
    settings: Settings,
    *,
    simulate: int,
    connectors: int,
    remembered: Mapping[str, int],
    rng: random.Random,
    only: Collection[str] = (),
) -> Plan:
    """The table for these settings; `simulate` instances that pair by themselves with the simulator. With `only`, these
    components and what they need."""
    chooser = PortChooser(remembered, rng)
    data = settings.data_dir.absolute()
    env = {env_name("data_dir"): str(data)}
    rows = [
        _kafka(settings, data, chooser, env),
        Component("topics", _wharf("topics", "apply"), needs=("kafka",), env=env),
        _registry(settings, chooser, env),
        Component("schemas", _wharf("schemas", "apply"), needs=("registry",), env=env),
    ]
    analytics = settings.clickhouse.enabled
    env[env_name("clickhouse.enabled")] = str(analytics).lower()
    if analytics:
        rows.append(_clickhouse(settings, chooser, env))
        rows.append(Component("clickhouse-schema", _wharf("clickhouse", "migrate"), needs=("clickhouse",), env=env))
    needs: tuple[str, ...] = ("topics", "schemas")
    if "host_binary" not in settings.connector.model_fields_set:
        env[env_name("connector.host_binary")] = str(layout.BIN / "wharf-host")
    simulated = simulate > 0 or settings.simulator.enabled
    if simulated:
        rows.append(_simulator(settings, data, chooser, env))
    rows += [
        _process("registrar", "streams.registrar", needs, chooser, env),
        _process("limiter", "streams.limiter", needs, chooser, env),
    ]
    if analytics:
        rows.append(_process("sink", "analytics.sink", (*needs, "clickhouse-schema"), chooser, env))
    names = slots(settings.connector.slot, connectors)
    behind = (*needs, "simulator") if simulated else needs
    rows += [_process(name, "connectors", behind, chooser, {**env, env_name("connector.slot"): name}) for name in names]
    if simulate > 0:
        command = (sys.executable, "-m", "compose.demo.phones", "--instances", str(simulate))
        rows.append(_with_telemetry("phones", command, ("registrar", "limiter", *names), chooser, env))
    return Plan(_with_needs(rows, only) if only else tuple(rows), env, chooser.chosen, tuple(chooser.notes))


def _with_needs(rows: list[Component], names: Collection[str]) -> tuple[Component, ...]:
    by_name = {component.name: component for component in rows}
    if unknown := sorted(set(names) - by_name.keys()):
        raise StackError(f"no component is named {unknown[0]!r} here; there are {', '.join(by_name)}")
    wanted, left = set(names), list(names)
    while left:
        needs = set(by_name[left.pop()].needs) - wanted
        wanted |= needs
        left += needs
    return tuple(component for component in rows if component.name in wanted)


def _wharf(*arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-m", "compose.cli", *arguments)


def _kafka(settings: Settings, data: Path, chooser: PortChooser, env: dict[str, str]) -> Component:
    given = settings.kafka
    if given.external:
        return Component("kafka", address=given.bootstrap, external=True, probe=partial(probes.kafka, given))
    host, port = _local_address("kafka.bootstrap", given.bootstrap)
    is_set = "bootstrap" in given.model_fields_set
    port = chooser.choose("kafka", wanted=port if is_set else None, usual=port)
    java = find_java()
    node = KafkaNode(java, data / "kafka", host, port, chooser.choose("kafka-controller"), kafka_archive.options(java))
    env[env_name("kafka.bootstrap")] = node.bootstrap
    return Component(
        "kafka",
        tuple(node.command()),
        address=node.bootstrap,
        ports={"kafka": port, "kafka-controller": node.controller_port},
        prepare=node.prepare,
        folder=node.folder,
        probe=partial(probes.kafka, given.model_copy(update={"bootstrap": node.bootstrap})),
        stop_seconds=2.5,
    )


def _registry(settings: Settings, chooser: PortChooser, env: dict[str, str]) -> Component:
    given = settings.registry
    if given.external:
        return _asked("registry", given.url, f"{given.url}/subjects", needs=("kafka",), external=True)
    host, port = _local_address("registry.url", urlsplit(given.url).netloc)
    port = chooser.choose("registry", wanted=port if "url" in given.model_fields_set else None, usual=port)
    url = f"http://{host}:{port}"
    env[env_name("registry.url")] = url
    telemetry = chooser.choose("registry-telemetry")
    return _asked(
        "registry",
        url,
        f"http://{LOOPBACK}:{telemetry}/healthz",
        command=(sys.executable, "-m", "schemas.registry"),
        needs=("kafka",),
        env={**env, env_name("telemetry.port"): str(telemetry)},
        ports={"registry": port, "registry-telemetry": telemetry},
        stop_seconds=2.0,
    )


def _clickhouse(settings: Settings, chooser: PortChooser, env: dict[str, str]) -> Component:
    given = settings.clickhouse
    if given.external:
        address = f"{given.host}:{given.port}"
        return Component(
            "clickhouse", address=address, external=True, probe=partial(probes.port, given.host, given.port)
        )
    ports_of = {}
    for name, field, usual in (("clickhouse", "port", given.port), ("clickhouse-http", "http_port", given.http_port)):
        is_set = field in given.model_fields_set
        ports_of[name] = port = chooser.choose(name, wanted=usual if is_set else None, usual=usual)
        env[env_name(f"clickhouse.{field}")] = str(port)
    ports_of["clickhouse-telemetry"] = telemetry = chooser.choose("clickhouse-telemetry")
    return _asked(
        "clickhouse",
        f"{LOOPBACK}:{ports_of['clickhouse']}",
        f"http://{LOOPBACK}:{telemetry}/healthz",
        command=(sys.executable, "-m", "analytics.embedded"),
        env={**env, env_name("telemetry.port"): str(telemetry)},
        ports=ports_of,
    )


def _simulator(settings: Settings, data: Path, chooser: PortChooser, env: dict[str, str]) -> Component:
    given = settings.simulator
    env[env_name("simulator.enabled")] = "true"
    if given.external:
        if not given.control_url:
            raise StackError("simulator.external is set, so simulator.control_url must say where it is")
        return _asked("simulator", given.control_url, f"{given.control_url}/healthz", external=True)
    port = urlsplit(given.control_url).port if given.control_url else None
    control = f"{LOOPBACK}:{chooser.choose('simulator', wanted=port)}"
    whatsapp = f"{LOOPBACK}:{chooser.choose('simulator-whatsapp')}"
    env[env_name("simulator.control_url")] = f"http://{control}"
    program = str(layout.BIN / "wharf-simulator")
    return _asked(
        "simulator",
        f"http://{control}",
        f"http://{control}/healthz",
        command=(program, "--listen", whatsapp, "--control", control, "--data", str(data / "simulator")),
        ports={name: chooser.chosen[name] for name in ("simulator", "simulator-whatsapp")},
        stop_seconds=2.0,
    )


def _process(name: str, module: str, needs: tuple[str, ...], chooser: PortChooser, env: dict[str, str]) -> Component:
    return _with_telemetry(name, (sys.executable, "-m", module), needs, chooser, env)


def _with_telemetry(
    name: str, command: tuple[str, ...], needs: tuple[str, ...], chooser: PortChooser, env: dict[str, str]
) -> Component:
    port = chooser.choose(name)
    address = f"http://{LOOPBACK}:{port}"
    own_env = {**env, env_name("telemetry.port"): str(port)}
    return _asked(name, address, f"{address}/healthz", command=command, needs=needs, env=own_env, ports={name: port})


def _asked(name: str, address: str, health_url: str, **rest: Any) -> Component:
    """A component that is ready when a URL says so."""
    return Component(name, address=address, health_url=health_url, probe=partial(probes.http, health_url), **rest)


def _local_address(setting: str, address: str) -> tuple[str, int]:
    """Host and port of something that we are to start here."""
    parts = urlsplit(f"//{address}")
    if parts.hostname not in (LOOPBACK, "localhost") or parts.port is None:
        section = setting.partition(".")[0]
        raise StackError(f"{setting} is {address}, which is not on this machine; set {section}.external = true")
    return LOOPBACK, parts.port
