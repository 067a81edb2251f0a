"""Charts as Vega-Lite specifications. Pure: texts of others are data in them, never part of an expression."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from analytics.report import words
from analytics.report.frame import (
    BLUE,
    FAINT,
    INK,
    ORANGE,
    PALE,
    ROW,
    TEAL,
    Record,
    Span,
    amounts,
    colours,
    extent,
    frame,
    names,
    room,
    when,
)
from analytics.report.model import Chart, Named, Spec, Width

HEIGHT = 220
# More dots than that hide the line.
MAX_DOTS = 62
WEEKDAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_WAIT_STEPS: Final = (("half of them", TEAL), ("9 of 10", BLUE), ("99 of 100", ORANGE))
_WAIT_TICKS: Final = (0.01, 0.1, 1, 10, 60, 600, 3600, 36_000, 86_400, 864_000, 8_640_000)


@dataclass(frozen=True, slots=True)
class Series:
    """One value per span of time."""

    name: str
    colour: str
    values: Sequence[float]


@dataclass(frozen=True, slots=True)
class Bar:
    """`says` stands behind it."""

    name: str
    value: float
    says: str
    colour: str = BLUE


@dataclass(frozen=True, slots=True)
class Waits:
    """Within how many seconds half, 9 of 10 and 99 of 100 were done."""

    name: str
    seconds: Sequence[float]


@dataclass(frozen=True, slots=True)
class Stretch:
    name: str
    state: str
    begin: datetime
    end: datetime


def columns(alt: str, spans: Sequence[Span], stack: Sequence[Series]) -> Chart:
    """Columns over time, the series on top of each other."""
    legend = tuple((one.name, one.colour) for one in stack)
    data: list[Record] = []
    for n, span in enumerate(spans):
        low, gap = 0.0, (span.end_ms - span.begin_ms) * 0.08
        for one in stack:
            if value := one.values[n]:
                place = {"x": span.begin_ms + gap, "x2": span.end_ms - gap, "low": low, "high": low + value}
                says = f"{span.says}: {words.count(value)} {one.name}"
                data.append({**place, "series": one.name, "says": says})
                low += value

    def draw(width: Width) -> Spec:
        return {
            **frame(alt, width, data, HEIGHT),
            "mark": {"type": "rect"},
            "encoding": {
                "x": when(spans, width),
                "x2": {"field": "x2"},
                "y": amounts("low"),
                "y2": {"field": "high"},
                "color": colours(legend),
                "description": {"field": "says"},
            },
        }

    return Chart(draw, legend)


def lines(alt: str, spans: Sequence[Span], drawn: Sequence[Series]) -> Chart:
    data: list[Record] = [
        {
            "x": (span.begin_ms + span.end_ms) // 2,
            "y": one.values[n],
            "series": one.name,
            "says": f"{span.says}: {words.count(one.values[n])} {one.name}",
        }
        for one in drawn
        for n, span in enumerate(spans)
    ]
    legend = tuple((one.name, one.colour) for one in drawn)
    point = {"filled": True, "size": 25, "opacity": 1} if len(spans) <= MAX_DOTS else False

    def draw(width: Width) -> Spec:
        return {
            **frame(alt, width, data, HEIGHT),
            "mark": {"type": "line", "point": point, "strokeWidth": 2},
            "encoding": {
                "x": when(spans, width),
                "y": amounts("y"),
                "color": colours(legend),
                "description": {"field": "says"},
            },
        }

    return Chart(draw, legend)


def bars(alt: str, rows: Sequence[Bar], whole: float = 0) -> Chart:
    """Bars in the given order, what they say behind them; on a phone their names stand above. `whole` is drawn behind."""
    most = whole or max((row.value for row in rows), default=0) or 1

    def draw(width: Width) -> Spec:
        is_tall = width is Width.PHONE
        shown = words.fitted([row.name for row in rows], 40 if is_tall else room(width))
        data: list[Record] = [
            {
                "name": name,
                "value": row.value,
                "whole": whole,
                "text": row.says,
                "colour": row.colour,
                "says": f"{row.name}: {row.says}",
            }
            for name, row in zip(shown, rows, strict=True)
        ]
        y = {**names(shown), "axis": None} if is_tall else names(shown)
        bar: Record = {"type": "bar", "height": 16, "cornerRadiusEnd": 2, "yOffset": 9 if is_tall else 0}
        text: Record = {"type": "text", "align": "left", "color": INK}
        layers: list[Record] = [
            {"mark": bar, "encoding": {"color": {"field": "colour", "type": "nominal", "scale": None}}},
            {
                "mark": {**text, "dx": 6, "yOffset": bar["yOffset"]},
                "encoding": {"text": {"field": "text", "type": "nominal"}},
            },
        ]
        if whole:
            behind = {"x": {"field": "whole", "type": "quantitative"}}
            layers.insert(0, {"mark": {**bar, "color": FAINT}, "encoding": behind})
        if is_tall:
            above = {"text": {"field": "name", "type": "nominal"}, "x": {"value": 0}}
            layers.append({"mark": {**text, "yOffset": -9}, "encoding": above})
        # The longest bar and what it says fill the line.
        line = width - 10 - (0 if is_tall else extent(shown))
        scale = {"domain": [0, most * line / (line - extent([row.says for row in rows]))], "nice": False}
        return {
            **frame(alt, width, data, (42 if is_tall else ROW) * len(rows)),
            "encoding": {
                "y": y,
                "x": {"field": "value", "type": "quantitative", "axis": None, "scale": scale, "stack": None},
                "description": {"field": "says"},
            },
            "layer": layers,
        }

    return Chart(draw)


def nested(alt: str, rows: Sequence[tuple[str, Sequence[float]]], parts: Sequence[Named]) -> Chart:
    """Bars within bars: each part is some of the part before."""

    def draw(width: Width) -> Spec:
        shown = words.fitted([name for name, _ in rows], room(width))
        data: list[Record] = [
            {
                "name": label,
                "value": value,
                "series": part,
                "depth": depth,
                "says": f"{name}: {words.count(value)} {part}",
            }
            for label, (name, values) in zip(shown, rows, strict=True)
            for depth, ((part, _), value) in enumerate(zip(parts, values, strict=True))
        ]
        return {
            **frame(alt, width, data, ROW * len(rows)),
            "mark": {"type": "bar", "height": 16, "cornerRadiusEnd": 2},
            "encoding": {
                "y": names(shown),
                "x": {**amounts("value"), "stack": None},
                "color": colours(parts),
                "order": {"field": "depth", "type": "quantitative"},
                "description": {"field": "says"},
            },
        }

    return Chart(draw, tuple(parts))


def waits(alt: str, rows: Sequence[Waits]) -> Chart:
    """From half to 99 of 100, on an axis of powers, so that seconds and hours both can be read."""
    least, most = _WAIT_TICKS[0], _WAIT_TICKS[-1]
    kept = [[min(most, max(least, value)) for value in row.seconds] for row in rows]
    everything = [value for values in kept for value in values]
    low, high, ticks = _wait_axis(min(everything), max(everything))
    texts = " : ".join(f"datum.value == {tick} ? '{words.duration(tick)}'" for tick in ticks) + " : ''"
    x: Record = {
        "type": "quantitative",
        "scale": {"type": "log", "domain": [low, high], "nice": False},
        "axis": {"values": ticks, "labelExpr": texts, "title": None, "grid": True, "domain": False},
    }

    def draw(width: Width) -> Spec:
        shown = words.fitted([row.name for row in rows], room(width))
        data: list[Record] = [
            {
                "name": label,
                "value": value,
                "series": step,
                "low": values[0],
                "high": values[-1],
                "says": f"{row.name}: {step} within {words.duration(seconds)}",
            }
            for label, row, values in zip(shown, rows, kept, strict=True)
            for (step, _), value, seconds in zip(_WAIT_STEPS, values, row.seconds, strict=True)
        ]
        return {
            **frame(alt, width, data, ROW * len(rows)),
            "encoding": {"y": names(shown), "description": {"field": "says"}},
            "layer": [
                {
                    "mark": {"type": "rule", "strokeWidth": 4, "color": PALE},
                    "encoding": {"x": {"field": "low", **x}, "x2": {"field": "high"}},
                },
                {
                    "mark": {"type": "circle", "size": 110, "opacity": 1},
                    "encoding": {"x": {"field": "value", **x}, "color": colours(_WAIT_STEPS)},
                },
            ],
        }

    return Chart(draw, _WAIT_STEPS)


def _wait_axis(least: float, most: float) -> tuple[float, float, list[float]]:
    """Its ends, and the ticks between: at least two."""
    low, high = least / 1.3, most * 1.3
    ticks = [tick for tick in _WAIT_TICKS if low <= tick <= high]
    if len(ticks) < 2:
        low = max(tick for tick in _WAIT_TICKS[:-1] if tick <= least)
        high = min(tick for tick in _WAIT_TICKS if tick >= most and tick > low)
        ticks = [tick for tick in _WAIT_TICKS if low <= tick <= high]
    return low, high, ticks


def week(alt: str, values: Sequence[Sequence[float]]) -> Chart:
    """A field per hour of the week: seven rows of 24."""
    data: list[Record] = [
        {
            "day": weekday,
            "hour": hour,
            "value": value,
            "says": f"{weekday}, {hour:02d}:00 to {hour + 1:02d}:00: {words.count(value)}",
        }
        for weekday, hours in zip(WEEKDAYS, values, strict=True)
        for hour, value in enumerate(hours)
    ]
    bare = {"title": None, "ticks": False, "domain": False}

    def draw(width: Width) -> Spec:
        every = 1 if width is Width.FULL else 6
        hours = {**bare, "labelAngle": 0, "labelExpr": f"datum.value % {every} == 0 ? datum.value : ''"}
        return {
            **frame(alt, width, data, 7 * (20 if width is Width.PHONE else 26)),
            "mark": {"type": "rect", "stroke": "#fff", "strokeWidth": 1.5},
            "encoding": {
                "x": {"field": "hour", "type": "ordinal", "axis": hours},
                "y": {"field": "day", "type": "ordinal", "sort": list(WEEKDAYS), "axis": bare},
                "color": {
                    "field": "value",
                    "type": "quantitative",
                    "scale": {"range": ["#eef2f7", "#8fb4f0", BLUE, "#123a86"], "domainMin": 0},
                    "legend": None,
                },
                "description": {"field": "says"},
            },
        }

    return Chart(draw)


def stretches(alt: str, spans: Sequence[Span], rows: Sequence[Stretch], states: Sequence[Named]) -> Chart:
    """What held when: a line per name, coloured by state."""
    lines_of = list(dict.fromkeys(row.name for row in rows))
    seen = {row.state for row in rows}
    legend = tuple(one for one in states if one[0] in seen)

    def draw(width: Width) -> Spec:
        shown = dict(zip(lines_of, words.fitted(lines_of, room(width)), strict=True))
        data: list[Record] = [
            {
                "name": shown[row.name],
                "series": row.state,
                "x": int(row.begin.timestamp() * 1000),
                "x2": int(row.end.timestamp() * 1000),
                "says": f"{row.name}: {row.state}, {words.moment(row.begin)} to {words.moment(row.end)}",
            }
            for row in rows
        ]
        return {
            **frame(alt, width, data, ROW * len(shown)),
            "mark": {"type": "bar", "height": 14},
            "encoding": {
                "y": names(list(shown.values())),
                "x": when(spans, width),
                "x2": {"field": "x2"},
                "color": colours(legend),
                "description": {"field": "says"},
            },
        }

    return Chart(draw, legend)
