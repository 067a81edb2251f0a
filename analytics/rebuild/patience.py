"""Work that is begun again while ClickHouse is away: a server that died is started again by its supervisor."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from core.errors import DBError

AWAY_S = 120.0
_PAUSE_S = 1.0
# Work that went on for so long had a server; the time it is away is counted anew.
_LASTED_S = 15.0
T = TypeVar("T")


def patiently(act: Callable[[], T], tell: Callable[[str], None]) -> T:
    """What `act` returns; it may be repeated at any point. DBError when the server is away for longer than AWAY_S."""
    away_since: float | None = None
    while True:
        began = time.monotonic()
        try:
            return act()
        except DBError as cause:
            now = time.monotonic()
            if away_since is None or now - began > _LASTED_S:
                away_since = now
            if cause.code != "db.clickhouse_unavailable" or not cause.retryable or now - away_since > AWAY_S:
                raise
            tell(f"begins again: {cause.message}")
            time.sleep(_PAUSE_S)
