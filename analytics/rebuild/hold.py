"""Sinks held by a rebuild's gate: put up, closed once they have finished what they began, kept alive, taken down."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from types import TracebackType

from analytics import gate as gates
from analytics.client import address_of, connect, connected, told
from analytics.gate import Gate
from analytics.heart import Heart
from analytics.schema.engines import Engines
from analytics.sink.batches import Source
from analytics.sink.group import Standing
from core.errors import APIError, WharfError
from core.settings import ClickHouseSettings

_LOOK_S = 0.1
_TELL_S = 5.0


class Hold:
    """A context: inside, the gate is up. Leaving it drops the staging tables and the gate, whatever happened."""

    def __init__(
        self, settings: ClickHouseSettings, engines: Engines, gate_id: str, again: str, tell: Callable[[str], None]
    ) -> None:
        self._settings = settings
        self._engines = engines
        self._id = gate_id
        self._tell = tell
        self._client = connect(settings)
        self._gate = Gate(self._client, engines, gate_id, again)
        # The connection is the heart's and the holder's.
        self._lock = threading.Lock()
        self._heart = Heart("rebuild-gate", self._touch)
        self._broken = False

    def __enter__(self) -> Hold:
        with told(address_of(self._settings)):
            self._gate.put_up()
        self._heart.start()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._heart.stop()
        self._client.disconnect()
        try:
            with connected(self._settings) as client:
                gates.remove(client, self._engines, self._id)
        except WharfError as cause:
            # Whoever looks at it after that breaks it.
            self._tell(f"sinks stay held for up to {gates.STALE_MS // 1000} s: {cause.message}")

    @property
    def broken(self) -> bool:
        """Somebody took it down because it was not touched for too long."""
        return self._broken or self._heart.lost

    def close(self, standings: Callable[[], Mapping[Source, Standing]], wait_s: float) -> None:
        """Wait until nothing is pending and close (R2 of analytics.gate); APIError when that takes too long."""
        began = told_at = time.monotonic()
        closed = False
        while True:
            pending = [one.pending for one in standings().values() if one.pending is not None]
            if not pending and closed:
                return
            if closed != (not pending):
                closed = not pending
                self._change("closed" if closed else "closing")
                continue
            now = time.monotonic()
            first = pending[0]
            where = f"{first.topic}[{first.partition}] offsets {first.first} to {first.last}"
            if now - began > wait_s:
                text = (
                    f"a sink began to insert {where} and has not finished within {wait_s:g} s: nothing was rebuilt. "
                    "`wharf status` shows whether a sink and ClickHouse run; start them, then run this again"
                )
                raise APIError("api.conflict", text)
            if now - told_at > _TELL_S:
                told_at = now
                self._tell(f"waits for the sink to finish {where}")
            time.sleep(_LOOK_S)

    def _change(self, state: gates.State) -> None:
        with told(address_of(self._settings)), self._lock:
            if not self._gate.change(state):
                self._broken = True
                raise APIError("api.conflict", "the gate was taken down by others")

    def _touch(self) -> bool:
        with told(address_of(self._settings)), self._lock:
            return self._gate.touch()
