"""From measurements to the object that is printed: figures, targets, and what `wharf bench` shows of them."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest
from typer.testing import CliRunner

from compose.bench import inbound, outbound, queries, sessions, sink
from compose.bench.bare import Bare
from compose.bench.loops import PARTS, Loop, Parts
from compose.bench.report import Report, Target, rounded, shown
from compose.bench.rig import CONNECTOR, HOST, LIMITER, SIMULATOR
from compose.bench.stage import BENCH, CLICKHOUSE, KAFKA, Usage
from compose.bench.watch import BenchError, Tell
from compose.cli.app import build

MACHINE = {"cores": 2, "load_before": [0.5, 0.5, 0.5]}


def flood(host: float, connector: float, messages: int = 1000, seconds: float = 2.0) -> inbound.Flood:
    others = dict.fromkeys((KAFKA, SIMULATOR, BENCH), 1.0)
    return inbound.Flood(
        Usage(seconds, {HOST: host, CONNECTOR: connector, **others}, {HOST: seconds / 4, CONNECTOR: seconds / 2}),
        messages,
        seconds,
        50,
        7000,
    )


def an_inbound_report(**changes: Any) -> Report:
    given: dict[str, Any] = {
        "floods": [flood(0.2, 0.3), flood(0.1, 0.2), flood(0.3, 0.4)],
        "half": flood(0.4, 0.5),
        "latencies": [float(number) for number in range(1, 101)],
        "backlogs": [1400.0, 1600.0, 1500.0],
        "floor": Bare(cpu_s=0.7, seconds=1.0, records=70_000),
        "per_transaction": 140,
    }
    return inbound.report(MACHINE, inbound.Options(sessions=10), **{**given, **changes})


def test_inbound_tells_medians_and_the_ratio_to_the_bare_loop() -> None:
    body = an_inbound_report().as_dict()
    figures = body["figures"]
    assert figures["cpu_ms_per_message"] == 0.5
    assert figures["cpu_ms_per_message_runs"] == [0.5, 0.3, 0.7]
    assert figures["messages_per_s"] == 500.0
    # 7 records for a message, a hundredth of a millisecond each.
    assert figures["records_per_message"] == 7.0
    assert figures["bare_cpu_ms_per_message"] == 0.07
    assert figures["cpu_to_bare_ratio"] == 7.143
    assert figures["half_load_waiting_for_processor_percent"] == 75.0
    assert body["targets"] == [
        {"name": "cpu_ms_per_message", "goal": 0.6, "value": 0.5, "met": True},
        {"name": "half_load_p99_ms", "goal": 60.0, "value": 99.0, "met": False},
        {"name": "backlog_messages_per_s", "goal": 1500.0, "value": 1500.0, "met": True},
    ]


def test_outbound_counts_all_three_processes() -> None:
    spent = Usage(4.0, {LIMITER: 0.2, CONNECTOR: 0.7, HOST: 0.3})
    bursts = [outbound.Burst(spent, 1000, 4.0, 100, 15_000)]
    report = outbound.report(MACHINE, outbound.Options(), bursts, [10.0, 30.0], Bare(0.3, 1.0, 15_000), 150)
    body = report.as_dict()
    assert body["figures"]["cpu_ms_per_command"] == 1.2
    assert body["figures"]["cpu_ms_per_command_limiter"] == 0.2
    assert body["figures"]["cpu_to_bare_ratio"] == 4.0
    assert body["figures"]["single_p99_ms"] == 30.0
    assert body["targets"] == [{"name": "cpu_ms_per_command", "goal": 1.0, "value": 1.2, "met": False}]


def a_sessions_report(minutes: float, growth_mb_per_s: float = 0.0) -> Report:
    one = sessions.Idle({CONNECTOR: 70.0, HOST: 20.0}, {CONNECTOR: 1.0, HOST: 1.0})
    many = sessions.Idle({CONNECTOR: 90.0, HOST: 100.0}, {CONNECTOR: 3.0, HOST: 2.0})
    less = sessions.Idle({CONNECTOR: 80.0, HOST: 90.0}, {CONNECTOR: 4.0, HOST: 2.0})
    samples = [(float(at), 100.0 + at * growth_mb_per_s) for at in range(int(minutes * 60))]
    traffic = sessions.Traffic(minutes * 60, 600, dict.fromkeys((CONNECTOR, HOST, LIMITER), samples))
    starts = [sessions.Start(1.0, last, 2.0) for last in (3.0, 9.0, 4.0)]
    return sessions.report(MACHINE, sessions.Options(sessions=500), one, many, starts, less, 0.5, traffic)


def test_sessions_divide_everything_that_is_resident() -> None:
    body = a_sessions_report(1).as_dict()
    assert body["figures"]["mb_per_session"] == 0.38
    assert body["figures"]["mb_per_further_session"] == 0.2004
    assert body["figures"]["cold_start_s"] == 4.0
    assert body["figures"]["cold_start_to_bare_ratio"] == 8.0
    assert [target["name"] for target in body["targets"]] == ["mb_per_session", "cold_start_s"]
    assert all(target["met"] for target in body["targets"])


@pytest.mark.parametrize(("growth_mb_per_s", "met"), [(0.0, True), (0.01, False)])
def test_growth_is_a_target_only_of_long_runs(growth_mb_per_s: float, met: bool) -> None:
    short, long = a_sessions_report(5, growth_mb_per_s), a_sessions_report(60, growth_mb_per_s)
    assert [target.name for target in short.targets] == ["mb_per_session", "cold_start_s"]
    assert long.targets[-1].name == "growth_mb_per_hour"
    assert long.targets[-1].met is met
    assert short.figures["growth_mb_per_hour_connector"] == pytest.approx(growth_mb_per_s * 3600, abs=1e-6)


def drain(rows: int, seconds: float, *names: str) -> sink.Drain:
    cpu = dict.fromkeys(names, seconds / 2) | {CLICKHOUSE: seconds, KAFKA: seconds / 10}
    return sink.Drain(seconds + 2, rows, Usage(seconds, cpu), names, 200.0)


def test_the_sink_is_compared_with_the_loop_of_the_same_repetition() -> None:
    rounds = [
        sink.Round(drain(1000, 1.0, "sink-1"), 5, Loop(1000, 0.5, 0.1), Loop(1000, 0.25, 0.1)),
        sink.Round(drain(1000, 2.0, "sink-1"), 5, Loop(1000, 2.0, 0.1), Loop(1000, 1.0, 0.1)),
        sink.Round(drain(1000, 1.0, "sink-1"), 5, Loop(1000, 0.9, 0.1), Loop(1000, 0.5, 0.1)),
    ]
    spent = Parts(1000, dict.fromkeys(PARTS, 0.01))
    shared = {2: drain(4000, 1.0, "sink-1", "sink-2")}
    report = sink.report(MACHINE, sink.Options(1000), Counter({"results": 400}), rounds, spent, shared)
    figures = report.as_dict()["figures"]
    assert figures["sink_to_loop_percent_runs"] == [50.0, 100.0, 90.0]
    assert (figures["sink_rows_per_s"], figures["sink_cpu_ms_per_row"]) == (1000.0, 0.5)
    # A second of ClickHouse and half a one of the sink for a thousand rows.
    assert figures["rows_per_s_per_core"] == 666.7
    assert figures["us_per_row_lookup"] == 10.0
    assert (figures["events_results"], figures["events_message"]) == (400, 0)
    assert (figures["rows_per_s_of_2_sinks"], figures["rows_per_s_per_core_of_2_sinks"]) == (4000.0, 2000.0)
    assert report.as_dict()["targets"] == [{"name": "sink_to_loop_percent", "goal": 80.0, "value": 90.0, "met": True}]


def test_a_query_is_as_slow_as_its_slowest_case() -> None:
    timings = [
        queries.Timing("audit", "default", 9, (1100.0, 1300.0, 1200.0), 2000.0),
        queries.Timing("volume", "default", 3, (10.0, 500.0, 12.0), 20.0),
        queries.Timing("volume", "whole", 30, (100.0, 90.0, 110.0), 180.0),
    ]
    body = queries.report(MACHINE, {"events": 5}, 50.0, timings).as_dict()
    figures = body["figures"]
    assert (figures["volume_ms"], figures["volume_slowest_case"], figures["volume_max_ms"]) == (100.0, "whole", 500.0)
    assert (figures["volume_ms_default"], figures["volume_to_scan_ratio"]) == (12.0, 2.0)
    assert body["targets"] == [
        {"name": "audit_ms", "goal": 1000.0, "value": 1200.0, "met": False},
        {"name": "volume_ms", "goal": 1000.0, "value": 100.0, "met": True},
    ]


def test_a_target_is_met_at_its_goal_in_both_directions() -> None:
    assert Target("x", 1.0, 1.0).met
    assert not Target("x", 1.0, 1.001).met
    assert Target("x", 1.0, 1.0, at_least=True).met
    assert not Target("x", 1.0, 0.999, at_least=True).met
    assert (Target("x", 0.6, 1.0).wanted, Target("x", 1500.0, 1.0, at_least=True).wanted) == ("≤ 0.6", "≥ 1500")


def test_figures_keep_four_digits() -> None:
    assert rounded(0.123456) == 0.1235
    assert rounded([1234.56, 7]) == [1235.0, 7]
    assert rounded("text") == "text"
    assert shown([1234.56, 7]) == "1,235.0  7"


def run_bench(monkeypatch: pytest.MonkeyPatch, *words: str) -> Any:
    def measure(options: inbound.Options, tell: Tell) -> Report:
        tell(f"measuring {options.sessions} sessions")
        if options.sessions == 13:
            raise BenchError("nothing came for 60 s: message.new 3/4")
        return an_inbound_report()

    monkeypatch.setattr(inbound, "run", measure)
    return CliRunner().invoke(build(), ["bench", "inbound", *words])


def test_json_is_one_object_on_stdout_and_progress_on_stderr(monkeypatch: pytest.MonkeyPatch) -> None:
    done = run_bench(monkeypatch, "--json", "--sessions", "7")
    assert done.exit_code == 0
    [line] = done.stdout.splitlines()
    body = json.loads(line)
    assert set(body) == {"bench", "machine", "figures", "targets"}
    assert (body["bench"], body["machine"]) == ("inbound", MACHINE)
    assert done.stderr == "measuring 7 sessions\n"


def test_tables_for_people_name_what_was_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    done = run_bench(monkeypatch)
    assert done.exit_code == 0
    [missed] = [line for line in done.stdout.splitlines() if line.rstrip().endswith("NO")]
    assert missed.split()[:3] == ["half_load_p99_ms", "≤", "60"]


def test_what_cannot_be_measured_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    done = run_bench(monkeypatch, "--sessions", "13")
    assert done.exit_code == 1
    assert done.stderr.splitlines()[-1] == "error: nothing came for 60 s: message.new 3/4"
