"""`wharf chaos`: faults on a stack of its own under load, and a judge of what came of it (docs/reliability.md)."""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Annotated, Any, get_args

import typer

from compose.bench.report import shown
from compose.bench.watch import BenchError
from compose.chaos.run import Plan, Report, Run
from compose.chaos.schedule import EXPERIMENTS
from compose.chaos.world import ChaosError, Options
from compose.cli.output import Json, print_json, print_table, stderr, stdout
from compose.demo.simulator import SimulatorError
from compose.stack.component import StackError
from compose.toolchain.java import NoJavaError
from core.faults import Mutant, allowed

EXIT_ERROR = 1


def register(app: typer.Typer) -> None:
    app.command("chaos")(chaos)


def chaos(
    name: Annotated[str, typer.Argument(help=f"An experiment: {', '.join(EXPERIMENTS)}.")],
    minutes: Annotated[float, typer.Option("--minutes", min=0.1, help="Of faults; settling comes after.")] = 10.0,
    seed: Annotated[
        int | None, typer.Option("--seed", help="Makes the order of faults repeatable; else at random.")
    ] = None,
    sessions: Annotated[int, typer.Option("--sessions", min=1, help="So many instances with two contacts each.")] = 20,
    connectors: Annotated[int, typer.Option("--connectors", min=1, help="So many connectors share them.")] = 2,
    rate: Annotated[float, typer.Option("--rate", min=0.1, help="Messages a second each way, over all.")] = 20.0,
    log: Annotated[
        Path | None, typer.Option("--log", help="Write a JSON line per fault to this file, the run's own first.")
    ] = None,
    mutant: Annotated[str | None, typer.Option("--mutant", hidden=True)] = None,
    json: Json = False,
) -> None:
    """Kill, cut off, pause and confuse a local stack of its own; nothing may be lost, doubled or out of order.

    Exit code 1 when something is; the data directory is kept then and named. Progress goes to stderr.
    """
    if name not in EXPERIMENTS:
        raise typer.BadParameter(f"{name}: there are {', '.join(EXPERIMENTS)}")
    told = stderr()
    seed = random.randrange(1_000_000) if seed is None else seed
    options = Options(sessions, connectors, small_disk=name == "disk-full", faults=_left_out(mutant))
    plan = Plan(name, minutes, seed, rate, options, log)
    told.print(f"{name}: seed {seed}, {minutes:g} minutes", markup=False, soft_wrap=True)
    try:
        report = Run(plan, lambda text: told.print(text, markup=False, soft_wrap=True)).go()
    except (BenchError, ChaosError, SimulatorError, StackError, NoJavaError) as error:
        told.print(f"error: {error}", markup=False, soft_wrap=True)
        raise typer.Exit(EXIT_ERROR) from None
    if json:
        print_json(report.as_dict())
    else:
        _show(report)
    if not report.clean:
        raise typer.Exit(EXIT_ERROR)


def _left_out(mutant: str | None) -> dict[str, Any]:
    """Faults that leave a mechanism out, to see that the judge finds what comes of it."""
    if mutant is None:
        return {}
    if not allowed(os.environ):
        raise typer.BadParameter("a mutant needs WHARF_ALLOW_FAULTS=1")
    names = mutant.split(",")
    if set(names) <= set(get_args(Mutant)):
        return {"mutants": names}
    return {"host": {"mutant": mutant}}


def _show(report: Report) -> None:
    stdout().print(
        f"[bold]{report.plan.name}[/] seed {report.plan.seed}",
        ", ".join(f"{name} {shown(value)}" for name, value in report.machine.items()),
    )
    print_table(("figure", "value"), [(name, shown(value)) for name, value in report.figures.items()], empty="")
    rows = [(each.name, each.wanted, shown(each.value), "yes" if each.met else "NO") for each in report.targets]
    print_table(("target", "goal", "value", "met"), rows, empty="")
