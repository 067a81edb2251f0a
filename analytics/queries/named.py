"""The named queries as files: what each answers, its parameters, and how their values become ClickHouse's. Pure.

A file begins with comment lines: what it answers, then `-- param NAME TYPE [= DEFAULT] : what it is`. Types are String, UInt32
and Time; a Time is an RFC 3339 time, `now`, or a span back from now like 30d. The statement uses ClickHouse's own `{name:Type}`.

Now may be a step of some seconds instead of an instant, so that a question asked twice within it is the same statement and its
answer can be given again: a span goes back from the step's beginning, `now` is its end, and nothing new is left out.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from importlib.resources import files

from core.errors import APIError

_PARAM = re.compile(r"-- param (\w+) (String|UInt32|Time)(?: = (\S+))? : (.+)")
_USED = re.compile(r"\{(\w+):[^{}]+\}")
_SPAN = re.compile(r"(\d{1,6})([smhd])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_EMPTY = "''"
_EPOCH = datetime.fromtimestamp(0, UTC)


@dataclass(frozen=True, slots=True)
class Now:
    """From `begin` to `end`; the same where now is an instant."""

    begin: datetime
    end: datetime


def now_within(ms: int, step_seconds: int = 0) -> Now:
    """The step that an instant lies in; 0 = the instant itself."""
    step_ms = 1000 * step_seconds or 1
    begin = ms - ms % step_ms
    end = begin + 1000 * step_seconds
    return Now(datetime.fromtimestamp(begin / 1000, UTC), datetime.fromtimestamp(end / 1000, UTC))


@dataclass(frozen=True, slots=True)
class Param:
    """`default` is None where a value must be given."""

    name: str
    type: str
    default: str | None
    meaning: str


@dataclass(frozen=True, slots=True)
class Query:
    name: str
    answers: str
    params: tuple[Param, ...]
    sql: str

    def values(self, given: Mapping[str, str], now_ms: int, step_seconds: int = 0) -> dict[str, str]:
        """Every parameter as ClickHouse reads it; APIError names what is unknown, missing, malformed or the wrong way round."""
        now = now_within(now_ms, step_seconds)
        known = {param.name: param for param in self.params}
        if unknown := sorted(given.keys() - known.keys()):
            names = ", ".join(known) or "none"
            raise APIError(
                "api.validation", f"{self.name} has no parameter {unknown[0]}; it has {names}", field=unknown[0]
            )
        out: dict[str, str] = {}
        times: dict[str, datetime] = {}
        for param in self.params:
            text = given.get(param.name, param.default)
            if text is None:
                raise APIError(
                    "api.validation", f"{self.name} needs --param {param.name}=…: {param.meaning}", field=param.name
                )
            if param.type == "Time":
                times[param.name] = moment(param.name, text, now)
                out[param.name] = _written(times[param.name])
            else:
                out[param.name] = _number(param.name, text) if param.type == "UInt32" else text
        if times.keys() >= {"from", "to"}:
            check_period(times["from"], times["to"])
        return out


@cache
def queries() -> dict[str, Query]:
    """All of them by name."""
    found = [entry for entry in files("analytics.queries").iterdir() if entry.name.endswith(".sql")]
    parsed = [parse(entry.name.removesuffix(".sql"), entry.read_text(encoding="utf-8")) for entry in found]
    return {query.name: query for query in sorted(parsed, key=lambda query: query.name)}


def parse(name: str, text: str) -> Query:
    """ValueError where the head is missing or does not fit the statement."""
    lines = text.splitlines()
    head = list(itertools.takewhile(lambda line: line.startswith("--"), lines))
    answers = " ".join(line.removeprefix("--").strip() for line in head if not line.startswith("-- param "))
    params = []
    for line in head:
        if line.startswith("-- param "):
            found = _PARAM.fullmatch(line)
            if found is None:
                raise ValueError(f"{name}: {line}")
            default = "" if found[3] == _EMPTY else found[3]
            params.append(Param(found[1], found[2], default, found[4]))
    sql = "\n".join(lines[len(head) :]).strip()
    if not answers or set(_USED.findall(sql)) != {param.name for param in params}:
        raise ValueError(f"{name}: what it answers or its parameters are not as in the statement")
    return Query(name, answers, tuple(params), sql)


def moment(name: str, text: str, now: Now) -> datetime:
    """The time that a parameter means, in UTC."""
    if text == "now":
        return now.end
    if span := _SPAN.fullmatch(text):
        return max(_EPOCH, now.begin - timedelta(seconds=int(span[1]) * _SECONDS[span[2]]))
    try:
        when = datetime.fromisoformat(text)
    except ValueError as cause:
        wanted = "a time like 2026-03-01T12:00:00Z, a span like 7d, or now"
        raise APIError("api.validation", f"{name}: {text!r} is not {wanted}", field=name) from cause
    return when.replace(tzinfo=UTC) if when.tzinfo is None else when.astimezone(UTC)


def check_period(begin: datetime, end: datetime) -> None:
    """APIError where there is nothing between the two."""
    if begin >= end:
        raise APIError(
            "api.validation",
            f"from is {begin:%Y-%m-%dT%H:%M:%SZ}, which is not before to, {end:%Y-%m-%dT%H:%M:%SZ}",
            field="from",
        )


def _number(name: str, text: str) -> str:
    if not text.isdecimal() or int(text) >= 2**32:
        raise APIError("api.validation", f"{name}: {text!r} is no number", field=name)
    return text


def _written(when: datetime) -> str:
    return f"{when:%Y-%m-%d %H:%M:%S}.{when.microsecond // 1000:03d}"
