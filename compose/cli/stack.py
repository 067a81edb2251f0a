"""`wharf up`, `down`, `status`, `logs`: the local stack."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from compose.cli.cluster import Cluster, require_kafka
from compose.cli.instances import known_instances, last_states
from compose.cli.output import Json, print_json, stderr, stdout
from compose.cli.stack_view import MARKS, print_status
from compose.stack import lifecycle, logs, ownership, status
from compose.stack.component import StackError, State
from compose.stack.kafka_node import FormatError
from compose.stack.state import ComponentState, StackFiles, StackState
from compose.toolchain.java import NoJavaError
from core.settings import Settings, load_settings

EXIT_ERROR = 1

Data = Annotated[Path | None, typer.Option("--data", help="Data directory; else the setting data_dir.")]


def register(app: typer.Typer) -> None:
    app.command()(up)
    app.command()(down)
    app.command("status")(show_status)
    app.command("logs")(show_log)


def up(
    data: Data = None,
    simulate: Annotated[
        int, typer.Option("--simulate", min=0, max=1000, help="Start a simulated WhatsApp and so many instances on it.")
    ] = 0,
    connectors: Annotated[
        int,
        typer.Option(
            "--connectors", min=0, max=100, help="So many connectors share the instances; 0 if all run elsewhere."
        ),
    ] = 1,
    analytics: Annotated[
        bool | None,
        typer.Option(
            "--analytics/--no-analytics",
            show_default=False,
            help="With ClickHouse and the sink, or without them on a small machine; else the setting clickhouse.enabled.",
        ),
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option("--only", help="Start this component and what it needs, and no other; may be repeated."),
    ] = None,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Return once everything is ready.")] = False,
) -> None:
    """Start the local stack: Kafka, registry, registrar, limiter, connector, ClickHouse, sink."""
    settings = _with_analytics(_settings(data), analytics)
    with _errors():
        if detach:
            _tell_ready(
                lifecycle.start_detached(
                    settings, simulate=simulate, connectors=connectors, only=only or (), on_change=_tell_change
                )
            )
            stdout().print("[dim]`wharf status` shows it, `wharf down` stops it[/]")
        else:
            lifecycle.run(
                settings,
                simulate=simulate,
                connectors=connectors,
                only=only or (),
                environ=os.environ,
                on_change=_tell_change,
                on_note=lambda note: stdout().print(f"[yellow]{note}[/]", soft_wrap=True),
                on_ready=_tell_ready,
            )
            stdout().print("stopped")


def down(
    data: Data = None,
    wipe: Annotated[bool, typer.Option("--wipe", help="Also remove its data, keys included.")] = False,
) -> None:
    """Stop the local stack; its data stays unless --wipe."""
    files = _files(_settings(data))
    with _errors():
        stopped = lifecycle.stop(files)
        stdout().print("stopped" if stopped else f"no stack runs on {files.data_dir}", soft_wrap=True)
        if wipe and files.data_dir.exists():
            left = lifecycle.wipe(files)
            rest = f"; not the stack's, so left: {', '.join(left)}" if left else ""
            stdout().print(f"removed the data in {files.data_dir}{rest}", soft_wrap=True)


def show_status(data: Data = None, json: Json = False) -> None:
    """Show every process, partition and instance; exit code 1 when no stack runs here and Kafka is not external."""
    settings = _settings(data)
    files = _files(settings)
    running = files.running()
    settings = _attached(settings, running)
    elsewhere = running is None and settings.kafka.external
    if elsewhere:
        require_kafka(settings)
    with _errors():
        report = status.collect(files, settings)
    instances = report["instances"] + _told_by_the_log(report, settings)
    report["partitions"], report["instances"] = ownership.joined(report["partitions"], instances)
    if json:
        print_json(report)
    elif running is not None or elsewhere:
        print_status(report)
    else:
        stderr().print(f"no stack runs on {files.data_dir}; `wharf up` starts one", soft_wrap=True)
    if running is None and not elsewhere:
        raise typer.Exit(EXIT_ERROR)


def _told_by_the_log(report: dict[str, Any], settings: Settings) -> list[dict[str, Any]]:
    """The instances whose owner is not on this machine, as their last session event has them."""
    told = {row["instance_id"] for row in report["instances"]}
    owners = {row["partition"]: row["owner"] for row in report["partitions"]}
    here = {part["name"] for part in report.get("components", []) if "partitions" in part["health"]}
    if not owners or here.issuperset(filter(None, owners.values())):
        return []
    cluster = Cluster(settings)
    known = {name: one for name, one in known_instances(cluster).items() if name not in told}
    states = last_states(cluster, known)
    return [status.from_log(name, known[name], states.get(name), owners) for name in known]


def show_log(
    name: Annotated[str, typer.Argument(help="A component, as `wharf status` names it, or `supervisor`.")],
    data: Data = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as the log grows.")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="So many of the last lines first.")] = 100,
) -> None:
    """Show the log of one process."""
    files = _files(_settings(data))
    path = files.log(name)
    with _errors():
        if not path.exists():
            known = ", ".join(sorted(log.stem for log in files.logs.glob("*.log"))) or "none yet"
            raise StackError(f"no log of {name!r} in {files.logs}; there are: {known}")
    for line in logs.tail(path, lines):
        typer.echo(line)
    if follow:
        for line in logs.follow(path):
            typer.echo(line)


def _tell_change(part: ComponentState) -> None:
    if part.state is State.RESTARTING:
        stdout().print(f"{MARKS[part.state]} {part.name}: {part.error}", soft_wrap=True)
    elif part.ready and part.state is not State.DONE:
        stdout().print(f"{MARKS[part.state]} {part.name} [dim]{part.address}[/]", soft_wrap=True)


def _tell_ready(state: StackState) -> None:
    addresses = {part.name: part.address for part in state.components}
    where = f"Kafka at {addresses['kafka']}" if "kafka" in addresses else ", ".join(addresses)
    simulated = "; [yellow]the WhatsApp behind it is simulated[/]" if state.simulated else ""
    stdout().print(f"[bold green]ready[/]: {where}{simulated}", soft_wrap=True)


def _settings(data: Path | None) -> Settings:
    settings = load_settings()
    return settings if data is None else settings.model_copy(update={"data_dir": data})


def _with_analytics(settings: Settings, wanted: bool | None) -> Settings:
    if wanted is None:
        return settings
    return settings.model_copy(update={"clickhouse": settings.clickhouse.model_copy(update={"enabled": wanted})})


def _files(settings: Settings) -> StackFiles:
    return StackFiles(settings.data_dir.absolute())


def _attached(settings: Settings, running: StackState | None) -> Settings:
    return load_settings({**running.settings, **os.environ}) if running else settings


@contextmanager
def _errors() -> Iterator[None]:
    """What stops the stack is one line, as everywhere in this command."""
    try:
        yield
    except (StackError, FormatError, NoJavaError) as error:
        stderr().print(f"error: {error}", markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(EXIT_ERROR) from None
