"""A thread that says every two seconds that the holder of something is alive, while the holder's own statements run long."""

from __future__ import annotations

import threading
from collections.abc import Callable

from core.errors import WharfError

BEAT_S = 2.0


class Heart:
    """`beat` returns False once the thing is somebody else's: then `lost` is set, and it stops."""

    def __init__(self, name: str, beat: Callable[[], bool]) -> None:
        self._beat = beat
        self._stop = threading.Event()
        self._lost = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    @property
    def lost(self) -> bool:
        return self._lost.is_set()

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(BEAT_S):
            try:
                if not self._beat():
                    self._lost.set()
                    return
            except WharfError:
                # A server that is away is told by the statement that runs; it may come back before anything is stale.
                continue
            except BaseException:
                self._lost.set()
                raise
