"""How long rows are kept, from the settings: set after the migrations, changed only where it differs. Pure but for `apply`.

Events count from `received_at`: what an old history brings is kept as long as what happens today, and so are the notes of the
batches it came in: a sink writes one each two seconds and partition. Rollups are small and are kept for ever unless a setting
says otherwise; they count from their hour or day.
"""

from __future__ import annotations

from clickhouse_driver import Client

from analytics.schema.engines import Engines
from core.settings import ClickHouseSettings

# ClickHouse tells the end of a row in 32 bits.
_LATEST_S = 2**32 - 1
_RAW = {"events": "received_at", "batches": "ingested_at"}
# The column of each typed table and rollup that tells the time a row stands for.
ROW_TIMES = {
    "messages": "month",
    "contact_events": "ts",
    "sessions": "ts",
    "volume_hour": "hour",
    "latency_hour": "hour",
    "contacts_day": "day",
    "problems_hour": "hour",
}


def wanted(settings: ClickHouseSettings) -> dict[str, str]:
    """TTL expression by table, empty = for ever."""
    out = {}
    for tables, days in ((_RAW, settings.retention_days), (ROW_TIMES, settings.rollup_retention_days)):
        for table, column in tables.items():
            # A time so late that its end cannot be told would be gone at once.
            latest = _LATEST_S - days * 86_400
            expression = f"toDateTime(least(toUnixTimestamp({column}), {latest})) + toIntervalDay({days})"
            out[table] = expression if days else ""
    return out


def present(create_query: str) -> str:
    """The TTL expression in what ClickHouse says about a table."""
    _, found, rest = create_query.partition(" TTL ")
    return rest.partition(" SETTINGS ")[0].partition(" COMMENT ")[0].strip() if found else ""


def apply(client: Client, engines: Engines, settings: ClickHouseSettings) -> list[str]:
    """The tables whose retention was changed."""
    changed = []
    for table, expression in wanted(settings).items():
        full = engines.table(table)
        name = full.partition(".")[2]
        rows = client.execute(
            "SELECT create_table_query FROM system.tables WHERE database = %(database)s AND name = %(name)s",
            {"database": engines.database, "name": name},
        )
        there = present(rows[0][0])
        if there == expression:
            continue
        what = f"MODIFY TTL {expression}" if expression else "REMOVE TTL"
        client.execute(f"ALTER TABLE {full} {engines.on_cluster} {what}")
        changed.append(table)
    return changed
