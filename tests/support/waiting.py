"""Tests wait for a condition with a deadline; they never synchronise on a sleep."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

POLL_SECONDS = 0.02
T = TypeVar("T")


def wait_until(condition: Callable[[], T], seconds: float, what: str) -> T:
    """The first true answer of `condition`; AssertionError with `what` and the last answer after `seconds`."""
    deadline = time.monotonic() + seconds
    while not (answer := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {seconds} s, last answer {answer!r}")
        time.sleep(POLL_SECONDS)
    return answer
