"""Whether an instance that somebody names has any events, and which name was meant if not."""

from __future__ import annotations

import difflib

from analytics.queries.named import queries
from analytics.queries.run import run
from core.errors import APIError
from core.settings import ClickHouseSettings

_SIMILAR = 3


def known(settings: ClickHouseSettings) -> list[str]:
    """The instances that have events in ClickHouse."""
    return [row[0] for row in run(settings, queries()["instances"].sql, {}).rows]


def check(name: str, names: list[str]) -> None:
    """APIError where it is none of them, with those that are like it."""
    if name in names:
        return
    close = difflib.get_close_matches(name, names, n=_SIMILAR, cutoff=0.4)
    hint = f"; similar: {', '.join(close)}" if close else "; no instance has events yet" if not names else ""
    raise APIError(
        "api.not_found",
        f"no events of an instance {name} are in ClickHouse{hint}; `wharf query instances` shows all",
        field="instance",
    )
