"""The rollups as the migrations make them: which rows each view makes of events, and the tables that hold them. Pure.

Everything is taken from the migrations' own text, so that a rebuild and the views can never differ.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cache

from analytics.gate import staging_name
from analytics.rebuild.period import Period, unit_of
from analytics.schema import retention
from analytics.schema.engines import Engines
from analytics.schema.migrations import migrations

_VIEW = re.compile(
    r"CREATE MATERIALIZED VIEW IF NOT EXISTS \{view:\w+\} \{on_cluster\} TO \{table:(\w+)\} AS\n(SELECT.*?);$",
    re.DOTALL | re.MULTILINE,
)
_TABLE = re.compile(
    r"CREATE TABLE IF NOT EXISTS \{table:(\w+)\}.*?;\n\n\{distributed:\1:[^\n]*\}", re.DOTALL | re.MULTILINE
)
_SOURCE = "{table:events}"


@dataclass(frozen=True, slots=True)
class Rollup:
    """`time` is the column that tells which hour, day or month a row stands for, `of` the column of events it is made of.
    `sums`: a copy of an event counts again; rows of the others are merged with their like, so that a copy changes nothing."""

    name: str
    time: str
    of: str
    sums: bool
    select: str = field(repr=False)
    table: str = field(repr=False)

    def rows(self, engines: Engines, source: str = "1", outcome: str = "1") -> str:
        """The rows that the view makes of the raw table as it stands, of events that fulfil `source`; those that fulfil
        `outcome`."""
        events = f"(SELECT * FROM {engines.database}.events FINAL WHERE {source})"
        return f"(SELECT * FROM ({self.select.replace(_SOURCE, events)}) WHERE {outcome})"

    def whole(self, period: Period) -> Period:
        """Widened to what a row of it stands for."""
        return period.widened(unit_of(self.time))

    def staging(self, engines: Engines, gate_id: str) -> list[str]:
        """The statements that make an empty table like it."""
        name = staging_name(gate_id, self.name)
        text = self.table.replace(f"{{table:{self.name}}}", f"{{table:{name}}}")
        return engines.statements(text.replace(f"{{distributed:{self.name}:", f"{{distributed:{name}:"))


@cache
def rollups() -> tuple[Rollup, ...]:
    """All of them, in the order of the migrations. ValueError where a migration is not written as is expected here."""
    times = retention.ROW_TIMES
    text = "\n".join(one.text for one in migrations())
    tables = {found[1]: found[0] for found in _TABLE.finditer(text)}
    views: dict[str, str] = dict(_VIEW.findall(text))
    if not views.keys() == times.keys() <= tables.keys():
        raise ValueError(f"rollups are not as expected: views {sorted(views)}, retention {sorted(times)}")
    out = []
    for name, select in views.items():
        if select.count(_SOURCE) != 1 or "{" in select.replace(_SOURCE, ""):
            raise ValueError(f"the view of {name} does not read events once")
        made_of = re.search(rf"\b(ts|received_at)\)+ AS {times[name]}\b", select)
        sums = "SimpleAggregateFunction(sum" in tables[name]
        out.append(Rollup(name, times[name], made_of[1] if made_of else times[name], sums, select, tables[name]))
    return tuple(out)
