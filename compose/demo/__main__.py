"""The demo: the whole system against the simulated WhatsApp, in a data directory of its own that begins empty.

python -m compose.demo          a live view until Ctrl-C
python -m compose.demo --once   a scenario; exit code 0 only if nothing was lost or doubled, either way
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
import time
from types import FrameType

from rich.console import Console
from rich.live import Live

from compose.demo import scenario, stored, view
from compose.demo.phones import instance_id
from compose.demo.simulator import Simulator
from compose.demo.system import System
from compose.demo.traffic import Traffic
from compose.stack import lifecycle, status
from compose.stack.component import StackError, State
from compose.stack.embedded import EmbeddedStack
from compose.stack.state import ComponentState
from compose.toolchain import layout
from core.settings import PREFIX

INSTANCES = 3
LIVE_PAUSE_SECONDS = 1.0
STATUS_SECONDS = 1.5
REFRESH_SECONDS = 0.25


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m compose.demo", description=__doc__)
    parser.add_argument("--once", action="store_true")
    once = parser.parse_args().once
    signal.signal(signal.SIGTERM, _interrupt)
    console = Console(highlight=False)
    data = layout.BUILD / "demo"
    # The user's own settings are for their own stacks.
    env = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    stack = EmbeddedStack(data, simulate=INSTANCES, env=env, on_change=lambda part: _tell(console, part))
    console.print("[bold]wharf[/] starts against a simulated WhatsApp; Ctrl-C stops everything")
    try:
        lifecycle.wipe(stack.files)
        with stack:
            return _once(stack, console) if once else _live(stack, console)
    except StackError as error:
        console.print(f"[red]error:[/] {error}", soft_wrap=True)
        return 1
    except KeyboardInterrupt:
        console.print("stopped")
        return 130 if once else 0


def _once(stack: EmbeddedStack, console: Console) -> int:
    began = time.monotonic()
    settings = stack.settings
    instances = [instance_id(number) for number in range(1, INSTANCES + 1)]
    with Simulator(settings.simulator.control_url) as simulator:
        traffic = Traffic(System(settings, "demo"), simulator, instances)
        try:
            scenario.ask_all(traffic, console.print)
            report = scenario.settle(traffic, settings, simulator, instances, console.print)
        finally:
            traffic.stop()
    rows = stored.settle(settings)
    for line in (*report.lines(), *rows.lines()):
        console.print(line, markup=False, soft_wrap=True)
    stored.show_query(settings.clickhouse, lambda line: console.print(line, markup=False, soft_wrap=True))
    reached = scenario.is_reached(report)
    if not reached:
        console.print(f"[red]fewer than {scenario.AT_LEAST} messages each way[/]")
    if traffic.figures.error:
        console.print(f"[red]{traffic.figures.error}[/]")
    passed = report.clean and rows.clean and reached and not traffic.figures.error
    verdict = "[green]nothing lost, nothing doubled[/]" if passed else f"[red]failed[/]; logs in {stack.files.logs}"
    console.print(f"{verdict} ({time.monotonic() - began:.0f} s)")
    return 0 if passed else 1


def _live(stack: EmbeddedStack, console: Console) -> int:
    settings = stack.settings
    instances = [instance_id(number) for number in range(1, INSTANCES + 1)]
    report = status.collect(stack.files, settings)
    end = threading.Event()

    def look() -> None:
        nonlocal report
        while not end.wait(STATUS_SECONDS):
            report = status.collect(stack.files, settings)

    with Simulator(settings.simulator.control_url) as simulator:
        traffic = Traffic(System(settings, "demo"), simulator, instances)
        traffic.start(questions=None, pause=LIVE_PAUSE_SECONDS)
        threading.Thread(target=look, daemon=True).start()
        try:
            with Live(console=console, auto_refresh=False, screen=console.is_terminal) as live:
                while report["running"]:
                    live.update(view.render(report, traffic.figures), refresh=True)
                    time.sleep(REFRESH_SECONDS)
        finally:
            end.set()
            traffic.stop()
    console.print(f"[red]the stack has ended[/]; logs in {stack.files.logs}")
    return 1


def _tell(console: Console, part: ComponentState) -> None:
    if part.state is State.RESTARTING:
        console.print(f"[red]✗[/] {part.name}: {part.error}", soft_wrap=True)
    elif part.state is State.READY:
        console.print(f"[green]✓[/] {part.name} [dim]{part.address}[/]", soft_wrap=True)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
