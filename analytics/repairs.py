"""Repairs exclude one another: a rebuild and a replay, the whole of each, hold one lock.

Without it two would undo each other: a rebuild copies the rest of each partition as it stands and puts all of it back later, so
that what another repair changed there in between is gone. Rules, beside those of analytics.gate:
- E1: a repair takes the lock, then removes every gate and staging table there is, waiting until nothing uses them (SYNC), and
  only then reads or changes a rollup;
- E2: a rebuild looks whether the lock is still its own after it has made its staging tables and before it fills them; a replay
  does before each insert. Who was taken over ends there and says that the command has to be run again.

Proof that a repair that was taken over replaces nothing once its successor has begun. It replaces from its staging tables alone
(R1), after its look (E2) found the lock its own. So it was taken over after the look, and its staging tables were there
before: the successor has dropped them, and waited for a replacement that was under way (E1). They never come back.
A replay that stood still between look and insert may insert once after it was taken over, and its rows may miss in rollups
that the successor makes. It finds out before the next insert or rebuild and fails, as if it had been killed: run again, it
makes every hour right that it has read of.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import TracebackType

from analytics import gate as gates
from analytics.client import address_of, connect, connected, told
from analytics.heart import Heart
from analytics.lock import Held, Kind, Lock
from analytics.rebuild.patience import patiently
from analytics.schema.engines import Engines
from core.errors import APIError, WharfError
from core.settings import ClickHouseSettings

LOCK = Kind("repair_lock", "repair", stale_ms=gates.STALE_MS)
_LOOK_S = 0.2
_TELL_S = 5.0


class Repair:
    """A context: inside, no other repair works. `again` is the command that others are told of, `wait_s` how long to wait for
    the end of theirs."""

    def __init__(self, settings: ClickHouseSettings, again: str, tell: Callable[[str], None], wait_s: float) -> None:
        self._settings = settings
        self._address = address_of(settings)
        self._engines = Engines(settings.database, settings.cluster)
        self._tell = tell
        self._wait_s = wait_s
        self._client = connect(settings)
        self._lock = Lock(self._client, self._engines, LOCK, again)
        # The connection is the heart's and the holder's.
        self._mutex = threading.Lock()
        self._heart = Heart("repair-lock", self._touch)

    def __enter__(self) -> Repair:
        try:
            patiently(self._take, self._tell)
        except BaseException:
            self._client.disconnect()
            raise
        self._heart.start()
        try:
            patiently(self.clear, self._tell)
        except BaseException:
            self._leave()
            raise
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._leave()

    def check(self) -> None:
        """APIError when another has taken over (E2)."""
        with self._mutex, told(self._address):
            mine = self._lock.is_mine()
        if not mine:
            raise self._lock.taken_over()

    def clear(self) -> None:
        """What repairs before this one left (E1), or an attempt of this one that lost its server."""
        self.check()
        # A connection of its own: the heart goes on while a statement is waited for.
        with connected(self._settings) as client:
            gates.clear(client, self._engines)

    def _leave(self) -> None:
        self._heart.stop()
        try:
            with told(self._address):
                self._lock.release()
        except WharfError as cause:
            self._tell(f"other repairs wait for up to {LOCK.stale_ms // 1000} s: {cause.message}")
        finally:
            self._client.disconnect()

    def _take(self) -> None:
        began = told_at = time.monotonic()

        def wait(held: Held) -> bool:
            nonlocal told_at
            now = time.monotonic()
            if now - began > self._wait_s:
                text = (
                    f"`{held.owner}` is running and has not ended within {self._wait_s:g} s; only one repair works at a "
                    "time: nothing was changed. Run this again after it, or wait longer with --wait"
                )
                raise APIError("api.conflict", text)
            if told_at == began or now - told_at > _TELL_S:
                told_at = now
                self._tell(f"waits for the end of `{held.owner}`")
            time.sleep(_LOOK_S)
            return True

        with told(self._address):
            self._lock.take(wait)

    def _touch(self) -> bool:
        with self._mutex, told(self._address):
            return self._lock.touch()
