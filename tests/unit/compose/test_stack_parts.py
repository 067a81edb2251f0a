"""The pure parts of the stack: restart pauses, start order, ports, and what is refused."""

from __future__ import annotations

import os
import random
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics.client import connect
from compose.stack import lifecycle, ports, table
from compose.stack.component import Component, StackError, State, levels
from compose.stack.probes import Health
from compose.stack.restarts import HEALTHY_SECONDS, LONGEST_PAUSE, Restarts
from compose.stack.state import ComponentState, StackFiles, StackState
from compose.stack.supervisor import _is_of_a_trace
from core.errors import DBError
from core.settings import (
    ClickHouseSettings,
    ConnectorSettings,
    KafkaSettings,
    RegistrySettings,
    Settings,
    SimulatorSettings,
)


def test_the_first_restart_is_at_once_and_later_ones_wait_longer() -> None:
    restarts, pauses = Restarts(), []
    for _ in range(10):
        restarts, pause = restarts.after_death(1.0)
        pauses.append(pause)
    assert pauses == [0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]


@given(st.lists(st.floats(0, 1000), max_size=50))
def test_a_minute_of_health_makes_the_next_restart_immediate(lives: list[float]) -> None:
    restarts = Restarts()
    for life in lives:
        restarts, pause = restarts.after_death(life)
        assert 0 <= pause <= LONGEST_PAUSE
        if life >= HEALTHY_SECONDS:
            assert pause == 0


def component(name: str, *needs: str) -> Component:
    return Component(name, needs=needs, probe=lambda: Health(True))


def test_levels_put_every_component_after_what_it_needs() -> None:
    got = levels([component("c", "a", "b"), component("b", "a"), component("a"), component("d")])
    assert [[part.name for part in level] for level in got] == [["a", "d"], ["b"], ["c"]]


@pytest.mark.parametrize(
    ("parts", "named"),
    [([component("a", "b"), component("b", "a")], "a.*b"), ([component("a", "nothing")], "nothing")],
)
def test_circles_and_unknown_needs_are_refused(parts: list[Component], named: str) -> None:
    with pytest.raises(StackError, match=named):
        levels(parts)


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def test_the_holder_of_a_port_is_named(taken: int) -> None:
    assert not ports.is_free(taken)
    assert str(ports.holder(taken)).endswith(f"(pid {os.getpid()})")


def test_a_port_that_is_set_and_taken_stops_the_start_and_says_by_whom(taken: int) -> None:
    chooser = table.PortChooser({}, random.Random(1))
    with pytest.raises(StackError, match=rf"port {taken}, set for kafka, is taken by .*pid {os.getpid()}"):
        chooser.choose("kafka", wanted=taken)


def test_a_usual_port_that_is_taken_is_replaced_and_noted(taken: int) -> None:
    chooser = table.PortChooser({}, random.Random(1))
    assert chooser.choose("kafka", usual=taken) != taken
    assert f"port {taken} is taken by" in chooser.notes[0]


def test_ports_of_the_last_time_are_kept_while_they_are_free(taken: int) -> None:
    free = ports.free_port(random.Random(2), {taken})
    chooser = table.PortChooser({"limiter": free, "connector-1": taken}, random.Random(1))
    assert chooser.choose("limiter") == free
    assert chooser.choose("connector-1") != taken


def plan(settings: Settings, simulate: int = 0, connectors: int = 1, only: tuple[str, ...] = ()) -> table.Plan:
    return table.plan(
        settings, simulate=simulate, connectors=connectors, remembered={}, rng=random.Random(3), only=only
    )


def test_without_simulate_nothing_leads_to_the_simulator(tmp_path: Path) -> None:
    plain = plan(Settings(data_dir=tmp_path))
    assert {part.name for part in plain.components}.isdisjoint({"simulator", "phones"})
    assert not [name for part in plain.components for name in part.env if "SIMULATOR" in name]
    simulated = plan(Settings(data_dir=tmp_path), simulate=2)
    assert {"simulator", "phones"} <= {part.name for part in simulated.components}
    assert simulated.env["WHARF_SIMULATOR__ENABLED"] == "true"


def test_external_components_are_probed_and_not_started(tmp_path: Path) -> None:
    settings = Settings(
        data_dir=tmp_path,
        kafka=KafkaSettings(bootstrap="broker:9092", external=True),
        registry=RegistrySettings(url="http://registry:8081", external=True),
        clickhouse=ClickHouseSettings(host="columns", external=True),
        simulator=SimulatorSettings(enabled=True, control_url="http://simulator:9000", external=True),
    )
    parts = {part.name: part for part in plan(settings).components}
    for name in ("kafka", "registry", "clickhouse", "simulator"):
        assert parts[name].external
        assert not parts[name].command
        assert parts[name].probe is not None
    assert not parts["connector-1"].external


def test_without_analytics_neither_clickhouse_nor_the_sink_is_started_and_every_process_knows(tmp_path: Path) -> None:
    analytics = {"clickhouse", "clickhouse-schema", "sink"}
    assert analytics <= {part.name for part in plan(Settings(data_dir=tmp_path)).components}
    without = plan(Settings(data_dir=tmp_path, clickhouse=ClickHouseSettings(enabled=False)))
    assert analytics.isdisjoint(part.name for part in without.components)
    levels(without.components)
    assert without.env["WHARF_CLICKHOUSE__ENABLED"] == "false"
    with pytest.raises(DBError, match=r"clickhouse\.enabled is false.*`wharf up --analytics`"):
        connect(ClickHouseSettings(enabled=False))


def test_only_starts_what_is_named_and_what_that_needs(tmp_path: Path) -> None:
    chosen = plan(Settings(data_dir=tmp_path), only=("schemas", "clickhouse-schema"))
    assert [part.name for part in chosen.components] == [
        "kafka",
        "registry",
        "schemas",
        "clickhouse",
        "clickhouse-schema",
    ]
    with pytest.raises(StackError, match="no component is named 'shcemas' here; there are kafka, topics"):
        plan(Settings(data_dir=tmp_path), only=("shcemas",))


@pytest.mark.parametrize(
    ("first", "count", "named"),
    [
        ("connector-1", 0, []),
        ("connector-1", 1, ["connector-1"]),
        ("connector-1", 3, ["connector-1", "connector-2", "connector-3"]),
        ("connector-9", 2, ["connector-9", "connector-10"]),
        ("berlin", 3, ["berlin", "berlin-2", "berlin-3"]),
        ("rack-b-2", 2, ["rack-b-2", "rack-b-3"]),
        ("host-01", 2, ["host-01", "host-01-2"]),
    ],
)
def test_slots_are_counted_on_from_the_one_that_is_set(first: str, count: int, named: list[str]) -> None:
    assert table.slots(first, count) == named


def test_every_connector_has_its_own_slot_and_is_named_by_it(tmp_path: Path) -> None:
    parts = {part.name: part for part in plan(Settings(data_dir=tmp_path), simulate=1, connectors=3).components}
    names = ["connector-1", "connector-2", "connector-3"]
    assert [parts[name].env["WHARF_CONNECTOR__SLOT"] for name in names] == names
    assert len({parts[name].ports[name] for name in names}) == 3
    assert set(names) <= set(parts["phones"].needs)


def test_a_slot_with_the_name_of_another_component_is_refused(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, connector=ConnectorSettings(slot="limiter"))
    with pytest.raises(StackError, match="two components are named 'limiter'"):
        levels(plan(settings).components)


def test_an_address_elsewhere_needs_external(tmp_path: Path) -> None:
    with pytest.raises(StackError, match=r"kafka\.bootstrap is broker:9092.*set kafka\.external"):
        plan(Settings(data_dir=tmp_path, kafka=KafkaSettings(bootstrap="broker:9092")))


def test_commands_find_the_running_stack(tmp_path: Path) -> None:
    files = StackFiles(tmp_path / "data")
    environ = {"WHARF_DATA_DIR": "data"}
    state = StackState(os.getpid(), 2, False, {"WHARF_KAFKA__BOOTSTRAP": "127.0.0.1:29999"}, [])
    with files.locked():
        files.write_state(state)
        attached = lifecycle.load_attached_settings(environ, tmp_path)
        chosen = lifecycle.load_attached_settings({**environ, "WHARF_KAFKA__BOOTSTRAP": "other:1"}, tmp_path)
    assert attached.kafka.bootstrap == "127.0.0.1:29999"
    assert chosen.kafka.bootstrap == "other:1"
    assert lifecycle.load_attached_settings(environ, tmp_path).kafka.bootstrap == "127.0.0.1:9092"


def test_a_stack_that_begins_to_start_does_not_show_its_predecessors_state(tmp_path: Path) -> None:
    files = StackFiles(tmp_path)
    files.write_state(StackState(os.getpid() + 1, 8, False, {}, [ComponentState("kafka", State.READY)]))
    with files.locked():
        running = files.running()
        assert running is not None
        assert (running.pid, running.components, running.ready) == (os.getpid(), [], False)


def test_state_survives_writing_and_reading(tmp_path: Path) -> None:
    files = StackFiles(tmp_path)
    state = StackState(
        7, 8, True, {"a": "b"}, [ComponentState("kafka", State.READY, "x", "y", {"kafka": 1}, 9, 2, "log")]
    )
    files.write_state(state)
    assert files.last_state() == state
    assert files.running() is None  # nobody holds the lock


def test_wipe_removes_the_stacks_data_and_nothing_else(tmp_path: Path) -> None:
    files = StackFiles(tmp_path / "data")
    for name in ("kafka", "logs", "mine"):
        (files.data_dir / name).mkdir(parents=True)
    (files.data_dir / "keys.json").write_text("{}")
    assert lifecycle.wipe(files) == ["mine"]
    assert [path.name for path in files.data_dir.iterdir()] == ["mine"]


def test_the_environment_of_one_start_is_given_once(tmp_path: Path) -> None:
    files = StackFiles(tmp_path)
    files.put_next_env("connector-1", {"WHARF_TEST_FAULTS": "{}"})
    assert files.take_next_env("limiter") == {}
    assert files.take_next_env("connector-1") == {"WHARF_TEST_FAULTS": "{}"}
    assert files.take_next_env("connector-1") == {}


def test_the_environment_of_every_start_stays_and_that_of_one_wins(tmp_path: Path) -> None:
    files = StackFiles(tmp_path)
    files.put_env("connector-1", {"A": "always", "B": "always"})
    files.put_next_env("connector-1", {"B": "once"})
    assert files.take_next_env("connector-1") == {"A": "always", "B": "once"}
    assert files.take_next_env("connector-1") == {"A": "always", "B": "always"}


def test_no_pause_is_longer_than_the_longest() -> None:
    restarts = Restarts(longest=0.7)
    pauses = []
    for _ in range(5):
        restarts, pause = restarts.after_death(0.0)
        pauses.append(pause)
    assert pauses == [0.0, 0.5, 0.7, 0.7, 0.7]


def test_last_words_are_not_the_frames_of_a_trace() -> None:
    assert _is_of_a_trace("at kafka.Kafka.main(Kafka.scala)")
    assert _is_of_a_trace("... 12 more")
    assert not _is_of_a_trace("Caused by: java.io.IOException: No space left on device")
