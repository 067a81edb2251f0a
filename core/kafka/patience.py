"""Calling what may never return.

librdkafka's send_offsets_to_transaction waits for the group's coordinator without a time limit (librdkafka issues 5456
and 5511; seen after each restart of a broker). So it runs in a thread that can be left behind.

A process that stood still has not waited: time counts in steps, so that on waking the call may still answer.
"""

from __future__ import annotations

import math
import queue
import threading
from collections.abc import Callable

_STEP_S = 0.1


class Stuck(Exception):
    """The call did not return; its thread and what it holds are abandoned."""


class Patience:
    """One helper thread, replaced when a call has to be abandoned."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._calls: queue.SimpleQueue[Callable[[], object] | None] | None = None
        self._answers: queue.SimpleQueue[BaseException | None] | None = None

    def run(self, call: Callable[[], object], seconds: float) -> None:
        """Raises what the call raised, or Stuck, with this helper's name, after that time."""
        if self._calls is None or self._answers is None:
            self._calls, self._answers = queue.SimpleQueue(), queue.SimpleQueue()
            # A daemon: one that is stuck must not hold up the end of the process.
            threading.Thread(target=_serve, args=(self._calls, self._answers), name=self._name, daemon=True).start()
        self._calls.put(call)
        steps = math.ceil(seconds / _STEP_S)
        for _ in range(steps):
            try:
                failure = self._answers.get(timeout=seconds / steps)
            except queue.Empty:
                continue
            if failure is not None:
                raise failure
            return
        # Should it ever come back, it ends there.
        self._calls.put(None)
        self._calls = self._answers = None
        raise Stuck(self._name)


def _serve(
    calls: queue.SimpleQueue[Callable[[], object] | None], answers: queue.SimpleQueue[BaseException | None]
) -> None:
    while (call := calls.get()) is not None:
        failure: BaseException | None = None
        try:
            call()
        except BaseException as cause:  # noqa: BLE001  (raised again by the caller)
            failure = cause
        answers.put(failure)
