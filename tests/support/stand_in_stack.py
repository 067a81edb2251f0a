"""A supervisor of stand-ins in a process of its own: `python -m tests.support.stand_in_stack DATA PORT PORT [FLAG…]`.

`first` has grandchildren; `step` is one-shot and needs it; `second` needs both and gets the FLAGs.
"""

from __future__ import annotations

import asyncio
import os
import sys
from functools import partial
from pathlib import Path

from compose.stack import lifecycle, probes
from compose.stack.component import Component
from compose.stack.state import StackFiles
from compose.stack.supervisor import Supervisor

STAND_IN = Path(__file__).with_name("stand_in.py")


def stand_in(name: str, port: str, *flags: str, needs: tuple[str, ...] = (), stop_seconds: float = 5.0) -> Component:
    return Component(
        name,
        (sys.executable, str(STAND_IN), port, *flags),
        needs=needs,
        ports={name: int(port)},
        probe=partial(probes.http, f"http://127.0.0.1:{port}/healthz"),
        stop_seconds=stop_seconds,
    )


def main(data: str, first: str, second: str, *flags: str) -> None:
    files = StackFiles(Path(data))
    components = (
        stand_in("first", first, "--grandchildren"),
        Component("step", (sys.executable, "-c", "print('step done')"), needs=("first",)),
        stand_in("second", second, *flags, needs=("first", "step"), stop_seconds=1.0),
    )
    with files.locked():
        supervisor = Supervisor(components, files, cwd=Path.cwd(), env=os.environ, settings={})
        asyncio.run(lifecycle.until_signalled(supervisor))


if __name__ == "__main__":
    main(*sys.argv[1:])
