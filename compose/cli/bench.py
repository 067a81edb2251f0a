"""`wharf bench`: what a message, a command and a session cost, measured on a stack of its own (docs/benchmarks.md)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import typer

from compose.bench import inbound, outbound, queries, sessions, sink, storm
from compose.bench.report import Report, shown
from compose.bench.watch import BenchError, Tell
from compose.cli.output import Json, print_json, print_table, stderr, stdout
from compose.demo.simulator import SimulatorError
from compose.stack.component import StackError
from compose.toolchain.java import NoJavaError

EXIT_ERROR = 1
Sessions = Annotated[
    int, typer.Option("--sessions", min=1, help="So many instances, each paired with a simulated phone.")
]
Repeat = Annotated[int, typer.Option("--repeat", min=1, help="Repetitions of each measurement; medians are told.")]

Analytics = Annotated[
    bool,
    typer.Option("--analytics", help="With ClickHouse and the sink, which take processor time from what is measured."),
]


def register(app: typer.Typer) -> None:
    group = typer.Typer(
        help="Measure on a local stack of its own with simulated people; progress goes to stderr.", no_args_is_help=True
    )
    group.command("inbound")(bench_inbound)
    group.command("outbound")(bench_outbound)
    group.command("sessions")(bench_sessions)
    group.command("storm")(bench_storm)
    group.command("sink")(bench_sink)
    group.command("queries")(bench_queries)
    app.add_typer(group, name="bench")


def bench_inbound(
    count: Sessions = 100,
    messages: Annotated[
        int, typer.Option("--messages", min=1, help="To each session, in each repetition at full load.")
    ] = 100,
    seconds: Annotated[float, typer.Option("--seconds", min=1, help="Length of the part at half load.")] = 15.0,
    backlog: Annotated[
        int, typer.Option("--backlog", min=2, help="Messages that wait for one stopped session.")
    ] = 3000,
    repeat: Repeat = 3,
    analytics: Analytics = False,
    json: Json = False,
) -> None:
    """Messages in: CPU for each, time to the log at half load, one session's backlog."""
    options = inbound.Options(count, messages, repeat, seconds, backlog, analytics)
    _run(lambda tell: inbound.run(options, tell), json=json)


def bench_outbound(
    count: Sessions = 100,
    messages: Annotated[int, typer.Option("--messages", min=1, help="From each session, in each repetition.")] = 50,
    repeat: Repeat = 3,
    analytics: Analytics = False,
    json: Json = False,
) -> None:
    """Commands out: CPU for each until its receipt is in the log."""
    options = outbound.Options(count, messages, repeat, analytics)
    _run(lambda tell: outbound.run(options, tell), json=json)


def bench_sessions(
    count: Sessions = 500,
    minutes: Annotated[float, typer.Option("--minutes", min=0.05, help="Of traffic, for the growth of memory.")] = 2.0,
    rate: Annotated[float, typer.Option("--rate", min=0.1, help="Messages a second each way meanwhile.")] = 50.0,
    idle: Annotated[
        float, typer.Option("--idle", min=0.1, help="Seconds before memory of idle sessions is read.")
    ] = 15.0,
    repeat: Repeat = 3,
    analytics: Analytics = False,
    json: Json = False,
) -> None:
    """Sessions: memory of idle ones, all of them from cold to online, growth of memory under traffic."""
    options = sessions.Options(count, repeat, idle, minutes, rate, analytics=analytics)
    _run(lambda tell: sessions.run(options, tell), json=json)


def bench_storm(
    count: Sessions = 1000,
    live: Annotated[int, typer.Option("--live", min=1, help="So many of them stay online and get messages.")] = 50,
    rate: Annotated[float, typer.Option("--rate", min=0.1, help="Messages a second to those together.")] = 100.0,
    seconds: Annotated[float, typer.Option("--seconds", min=1, help="Of messages, in each repetition.")] = 20.0,
    repeat: Repeat = 3,
    analytics: Analytics = False,
    json: Json = False,
) -> None:
    """Reconnect storm: the other sessions are cut off at once; latency of those that stay, time until all are back."""
    options = storm.Options(count, live, rate, seconds, repeat, analytics)
    _run(lambda tell: storm.run(options, tell), json=json)


def bench_sink(
    events: Annotated[int, typer.Option("--events", min=2000, help="So many records of all event topics.")] = 200_000,
    repeat: Repeat = 3,
    sinks: Annotated[
        int, typer.Option("--sinks", min=1, max=32, help="Up to so many share the work at last: 2, 4 …")
    ] = 4,
    partitions: Annotated[
        int, typer.Option("--partitions", min=1, max=100, help="Of each topic; the fewer, the larger are batches.")
    ] = 8,
    json: Json = False,
) -> None:
    """A log full of events into ClickHouse: rows a second against a bare loop, what a row costs, several sinks."""
    _run(lambda tell: sink.run(sink.Options(events, repeat, sinks, partitions), tell), json=json)


def bench_queries(
    events: Annotated[int, typer.Option("--events", min=1000, help="So many events over two months.")] = 5_000_000,
    repeat: Annotated[int, typer.Option("--repeat", min=1, help="So often each query is asked; medians are told.")] = 5,
    json: Json = False,
) -> None:
    """Every named query on millions of events: how long people wait for the answer."""
    _run(lambda tell: queries.run(queries.Options(events, repeat), tell), json=json)


def _run(measure: Callable[[Tell], Report], *, json: bool) -> None:
    told = stderr()
    try:
        report = measure(lambda text: told.print(text, markup=False, soft_wrap=True))
    except (BenchError, SimulatorError, StackError, NoJavaError) as error:
        told.print(f"error: {error}", markup=False, soft_wrap=True)
        raise typer.Exit(EXIT_ERROR) from None
    if json:
        print_json(report.as_dict())
    else:
        _show(report)


def _show(report: Report) -> None:
    stdout().print(
        f"[bold]{report.bench}[/]", ", ".join(f"{name} {shown(value)}" for name, value in report.machine.items())
    )
    print_table(("figure", "value"), [(name, shown(value)) for name, value in report.figures.items()], empty="")
    rows = [(each.name, each.wanted, shown(each.value), "yes" if each.met else "NO") for each in report.targets]
    print_table(("target", "goal", "value", "met"), rows, empty="")
