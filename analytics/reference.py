"""docs/analytics.md, made of the migrations and the named queries: `python -m analytics.reference > docs/analytics.md`. Pure
but for the reading of those files; a test keeps the document and this in step."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass

from analytics.queries.named import Query, queries
from analytics.schema.migrations import migrations

_TABLE = re.compile(
    r"CREATE TABLE IF NOT EXISTS \{table:(\w+)\}.*?\n\(\n(.*?)\n\)\nENGINE = \{engine:(\w+)\}(.*?)COMMENT '((?:[^']|'')*)';",
    re.DOTALL,
)
_COLUMN = re.compile(r"    (\w+) (.+?)(?: CODEC\(.*?\))? COMMENT '((?:[^']|'')*)',?$")
_VIEW = re.compile(r"CREATE VIEW IF NOT EXISTS \{view:(\w+)\}.*?COMMENT '((?:[^']|'')*)';", re.DOTALL)
_ORDER = re.compile(r"ORDER BY \((.+)\)\n")
_HEAD = """# Analytics

Every event of the log is in ClickHouse once: the sink (`python -m analytics.sink`) takes `wa.events.*` and `wa.results` in
batches whose range it notes in Kafka before it inserts them. A copy of an event is left out, in the same batch and in others.
The test that kills it at every step is `tests/integration/test_sink_crashes.py`. This page is made of the migrations
(`analytics/schema/migrations`) and the queries (`analytics/queries`) by `python -m analytics.reference`.

Ask by name, in SQL, or with any client of ClickHouse's native protocol:

```sh
wharf query list
wharf query funnel --param instance=sales-1 --param from=7d
wharf query "SELECT kind, count() FROM events FINAL GROUP BY kind" --format csv
wharf query volume --param from=30d --format parquet -o volume.parquet
wharf report --instance sales-1 --from 30d -o report.html
```

```python
from clickhouse_driver import Client

client = Client("127.0.0.1", port=9000, database="wharf")
for hour, events in client.execute("SELECT hour, sum(events) FROM volume_hour GROUP BY hour ORDER BY hour"):
    print(hour, events)
```

```sh
curl "http://127.0.0.1:8123/?database=wharf&default_format=CSVWithNames&param_from=2026-01-01" --data-binary \\
  "SELECT toDate(hour) AS day, direction, sum(events) AS messages FROM volume_hour
   WHERE kind = 'message.new' AND hour >= {from:DateTime} GROUP BY day, direction ORDER BY day, direction"
```

Over HTTP, who names no user is the reader; `--user default:` is the writer.

`wharf query` and `wharf report` ask as `clickhouse.reader_user`, who reads only, within `clickhouse.reader_max_*` (30 s, 1 GiB, a
million rows). Parquet is made by the server, over HTTP (`clickhouse.http_port`). The report is one HTML page without scripts.

The answer of a named query is given again for `clickhouse.cache_seconds` (10; 0: never) after it was made; `--no-cache` makes
it anew, and a statement of your own is always run. `wharf query` asks for that by ClickHouse's settings `use_query_cache` and
`query_cache_ttl`. ClickHouse's own cache has no room in chDB, so the embedded server has one, for its reader, and counts
`wharf_clickhouse_cache_hits_total`, `_misses_total` and `_hit_ratio` in its metrics. Of another server ask `SELECT event, value
FROM system.events WHERE event LIKE 'QueryCache%'`, or its Prometheus endpoint for `ClickHouseProfileEvents_QueryCacheHits`.

Rows that are copies or parts of one are merged by ClickHouse in the background: read `events`, `contact_events` and `sessions`
with `FINAL`, sum or merge the columns of the other tables, or ask the views. `events` and `batches` are kept for
`clickhouse.retention_days` (400) from their receipt, the other tables for `clickhouse.rollup_retention_days` (0: for ever);
`wharf clickhouse migrate` sets that.

`wharf clickhouse rebuild --from TIME --to TIME` makes the rollups of a period again from `events`; `wharf clickhouse replay
--from OFFSET|TIME` reads topics again and brings in what is missing (when to use them: [operations.md](operations.md)). Both may
be killed at any moment and run again; sinks go on, and wait while rollups are replaced.

With `clickhouse.cluster` the same migrations make `Replicated` tables `NAME_local` on the cluster and a `Distributed` table
`NAME` over them, sharded by instance. That SQL is tested as text; it was not run on a cluster, nor were
rebuild and replay.
"""


@dataclass(frozen=True, slots=True)
class Column:
    name: str
    type: str
    meaning: str


@dataclass(frozen=True, slots=True)
class Table:
    name: str
    engine: str
    order: str
    meaning: str
    columns: tuple[Column, ...]


def tables() -> list[Table]:
    """The tables as the migrations make them, in order."""
    out = []
    for migration in migrations():
        for name, body, engine, rest, meaning in _TABLE.findall(migration.text):
            found = [_COLUMN.fullmatch(line) for line in body.splitlines()]
            columns = tuple(Column(one[1], _type(one[2]), _text(one[3])) for one in found if one)
            order = _ORDER.search(rest)
            out.append(Table(name, engine, order[1] if order else "", _text(meaning), columns))
    return out


def views() -> list[tuple[str, str]]:
    return [(name, _text(meaning)) for migration in migrations() for name, meaning in _VIEW.findall(migration.text)]


def document() -> str:
    parts = [_HEAD, "## Tables\n"]
    parts += [_table(table) for table in tables()]
    parts.append("## Views\n")
    parts.append("| view | rows |\n|---|---|\n" + "".join(f"| `{name}` | {meaning} |\n" for name, meaning in views()))
    parts.append("## Queries\n")
    parts.append("A time is like `2026-03-01T12:00:00Z`, a span back from now like `7d`, or `now`.\n")
    parts += [_query(query) for query in queries().values()]
    return "\n".join(parts)


def _table(table: Table) -> str:
    lines = [
        f"### {table.name}\n",
        f"{table.meaning} `{table.engine}`, ordered by `{table.order}`.\n",
        "| column | type | what |",
    ]
    lines.append("|---|---|---|")
    lines += [f"| `{one.name}` | `{one.type}` | {one.meaning} |" for one in table.columns]
    return "\n".join(lines) + "\n"


def _query(query: Query) -> str:
    lines = [f"### wharf query {query.name}\n", f"{query.answers}\n"]
    for param in query.params:
        default = (
            "must be given"
            if param.default is None
            else f"default `{param.default}`"
            if param.default
            else "default empty"
        )
        lines.append(f"- `{param.name}` ({param.type}, {default}): {param.meaning}")
    return "\n".join(lines) + ("\n" if query.params else "")


def _type(text: str) -> str:
    return text.partition(" DEFAULT ")[0]


def _text(quoted: str) -> str:
    return quoted.replace("''", "'")


if __name__ == "__main__":
    sys.stdout.write(document())
