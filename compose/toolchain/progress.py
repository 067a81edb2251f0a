"""One line per step of the setup: what it is, what it found, how long it took.

Standard library only: the bootstrap imports it before anything is installed.
"""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager


class Step:
    """The line of one step while it runs."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.result = ""

    def note(self, text: str) -> None:
        """Say what is being done now; only a terminal shows it, on the step's own line."""
        if sys.stdout.isatty():
            sys.stdout.write(f"\r\033[K  … {self.title}: {text[:80]}")
            sys.stdout.flush()


@contextmanager
def step(title: str) -> Iterator[Step]:
    """A step that has work to do."""
    running = Step(title)
    sys.stdout.write(f"  … {title}" + ("" if sys.stdout.isatty() else "\n"))
    sys.stdout.flush()
    start = time.monotonic()
    try:
        yield running
    except BaseException:
        _finish("✗", title, "failed", time.monotonic() - start)
        raise
    _finish("✓", title, running.result, time.monotonic() - start)


def skipped(title: str, result: str) -> None:
    """A step whose result is there already."""
    sys.stdout.write(f"  ✓ {title}: {result}\n")
    sys.stdout.flush()


def _finish(mark: str, title: str, result: str, seconds: float) -> None:
    start = "\r\033[K" if sys.stdout.isatty() else ""
    text = f"{title}: {result}" if result else title
    sys.stdout.write(f"{start}  {mark} {text} ({seconds:.1f} s)\n")
    sys.stdout.flush()
