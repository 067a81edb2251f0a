"""What all charts have in common: their frame, axes, legends and colours, as parts of Vega-Lite specifications. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from analytics.report import words
from analytics.report.model import Named, Spec, Width

Record = dict[str, Any]

BLUE, TEAL, ORANGE, RED, GREY, PALE = "#2f6fde", "#0e9f8e", "#f0a020", "#d9485f", "#9aa5b4", "#d5dce6"
INK, FAINT = "#334155", "#e6eaf0"
ROW = 28
# Of digits in most fonts, in pixels; the page's font is known only where it is read.
_CELL = 7.3
_FONT: Final = "system-ui, sans-serif"
# For numbers of things: 12,000 and 1.2M.
_SHORT: Final = "datum.value >= 100000 ? format(datum.value, '~s') : format(datum.value, ',')"
DAY_MS = 86_400_000
_LONG_MS = 300 * DAY_MS


@dataclass(frozen=True, slots=True)
class Span:
    """A step of the time axis and its name."""

    begin_ms: int
    end_ms: int
    says: str


def frame(alt: str, width: Width, data: list[Record], height: int) -> Spec:
    return {
        "$schema": "https://vega.github.io/schema/vega-lite/v6.json",
        "description": alt,
        "data": {"values": data},
        "width": int(width),
        "height": height,
        "autosize": {"type": "fit-x", "contains": "padding"},
        "padding": 4,
        "background": None,
        "config": {
            "font": _FONT,
            "view": {"stroke": None},
            "axis": {
                "labelColor": INK,
                "titleColor": INK,
                "gridColor": FAINT,
                "domainColor": GREY,
                "tickColor": GREY,
                "labelFontSize": 12,
                "titleFontSize": 12,
                "titleFontWeight": "normal",
                "grid": False,
                "labelFlush": False,
                "labelSeparation": 10,
            },
            "text": {"fontSize": 12},
        },
    }


def when(spans: Sequence[Span], width: Width) -> Record:
    """The field `x` in epoch milliseconds over all of the spans, in UTC; a name below as many of them as there is room for."""
    domain = [spans[0].begin_ms, spans[-1].end_ms]
    most = {Width.FULL: 16, Width.HALF: 6, Width.PHONE: 5}[width]
    # A day's name stands below its middle, a week's where it begins.
    named = [
        span.begin_ms + (DAY_MS // 2 if span.end_ms - span.begin_ms <= DAY_MS else 0)
        for span in spans[:: math.ceil(len(spans) / most)]
    ]
    is_long = domain[1] - domain[0] > _LONG_MS
    ticks: Record = (
        {"format": "%b %Y", "tickCount": most * 2 // 3} if is_long else {"format": "%-d %b", "values": named}
    )
    axis = {"title": None, "labelOverlap": "greedy", **ticks}
    return {"field": "x", "type": "temporal", "scale": {"type": "utc", "domain": domain, "nice": False}, "axis": axis}


def amounts(field: str) -> Record:
    """Numbers of things, from 0."""
    axis = {
        "title": None,
        "labelExpr": _SHORT,
        "tickMinStep": 1,
        "tickCount": 5,
        "domain": False,
        "ticks": False,
        "grid": True,
    }
    return {"field": field, "type": "quantitative", "scale": {"nice": True, "domainMin": 0}, "axis": axis}


def room(width: Width) -> int:
    """Of a row's name, in digits."""
    return {Width.FULL: 56, Width.HALF: 24, Width.PHONE: 16}[width]


def extent(texts: Sequence[str]) -> float:
    """Of the widest of them, in pixels, with a distance to what is beside it."""
    return _CELL * max(map(words.cells, texts), default=0) + 12


def names(shown: Sequence[str]) -> Record:
    """A row for each `name`, in the order of the data; they fit and differ."""
    wide = extent(shown)
    bare = {"title": None, "ticks": False, "domain": False}
    axis = {**bare, "labelLimit": 0, "labelPadding": 8, "minExtent": wide, "maxExtent": wide}
    return {"field": "name", "type": "nominal", "sort": None, "axis": axis}


def colours(of: Sequence[Named]) -> Record:
    """By `series`, each with its colour."""
    scale = {"domain": [name for name, _ in of], "range": [colour for _, colour in of]}
    return {"field": "series", "type": "nominal", "scale": scale, "legend": None}
