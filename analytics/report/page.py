"""Sections as one HTML page that loads nothing and runs nothing: its policy allows its own style and no more.

All texts are escaped by the template; the only markup that comes in is the SVG of draw.py, which escapes what is in it.
"""

from __future__ import annotations

import base64
import hashlib
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib.resources import files

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from analytics.report import words
from analytics.report.model import Chart, Named, Question, Section, Spec, Tile, Width

# Of a table; thousands of instances would make the page large.
MAX_ROWS = 500
Draw = Callable[[Spec], str]


@dataclass(frozen=True, slots=True)
class Figure:
    legend: Sequence[Named]
    desktop: Markup
    phone: Markup


@dataclass(frozen=True, slots=True)
class Shown:
    """A section as the template takes it."""

    key: str
    title: str
    text: str
    empty: str
    is_wide: bool
    figures: Sequence[Figure]
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    texts: int
    left_out: str
    commands: Sequence[str]


def html(question: Question, made: datetime, tiles: Sequence[Tile], sections: Sequence[Section], draw: Draw) -> str:
    style = _file("page.css")
    template = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    ).from_string(_file("page.html"))
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    period = question.period
    return template.render(
        heading=words.label(question.instance, "All instances"),
        period=f"{words.moment(period.begin)} to {words.moment(period.end)} UTC ({_length(question)})",
        made=f"{words.moment(made)} UTC",
        style=Markup(style),  # noqa: S704 - ours
        style_hash=f"sha256-{digest}",
        tiles=tiles,
        sections=[_shown(section, question, draw) for section in sections],
    )


def _shown(section: Section, question: Question, draw: Draw) -> Shown:
    rows = section.table.rows if section.charts else ()
    return Shown(
        section.key,
        section.title,
        section.text,
        section.empty,
        section.is_wide,
        [_figure(chart, section.is_wide, draw) for chart in section.charts],
        section.table.columns,
        rows[:MAX_ROWS],
        section.table.texts,
        words.count(len(rows) - MAX_ROWS) if len(rows) > MAX_ROWS else "",
        [_command(name, question) for name in section.queries],
    )


def _figure(chart: Chart, is_wide: bool, draw: Draw) -> Figure:
    desktop = draw(chart.draw(Width.FULL if is_wide else Width.HALF))
    phone = draw(chart.draw(Width.PHONE))
    return Figure(chart.legend, Markup(desktop), Markup(phone))  # noqa: S704 - draw escapes what is in it


def _command(name: str, question: Question) -> str:
    """What to type for the same numbers."""
    given = [f"from={question.period.begin:%Y-%m-%dT%H:%M:%SZ}", f"to={question.period.end:%Y-%m-%dT%H:%M:%SZ}"]
    if question.instance:
        given.append(f"instance={words.label(question.instance)}")
    return f"wharf query {name} " + " ".join(f"--param {shlex.quote(one)}" for one in given)


def _length(question: Question) -> str:
    seconds = (question.period.end - question.period.begin).total_seconds()
    days = round(seconds / 86_400)
    return words.duration(seconds) if seconds < 2 * 86_400 else f"{days} days"


def _file(name: str) -> str:
    return (files("analytics.report") / name).read_text(encoding="utf-8")
