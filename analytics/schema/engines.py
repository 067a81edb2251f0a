"""The one place where engines are chosen: a single node, or a cluster with replicas and shards. Pure: text in, text out.

A migration is written once, with placeholders:
{table:events}       the table that holds rows: `events`, on a cluster `events_local`
{read:events}        the table that queries read: `events`, on a cluster the Distributed one over all shards
{view:name}          a view
{engine:X}           `X`, on a cluster `ReplicatedX` with its path
{distributed:t:key}  nothing, on a cluster the Distributed table over `t_local`, sharded by the key
{on_cluster}         nothing, on a cluster `ON CLUSTER 'name'`
{window}             the setting that keeps the tokens of the last inserts, by which a repeated batch is known
"""

from __future__ import annotations

import re
from dataclasses import dataclass

# How many of the last inserts ClickHouse remembers per table; a replay that goes further back ends in a rebuild.
DEDUPLICATION_WINDOW = 10_000
_PLACE = re.compile(r"\{(\w+)(?::(\w+))?(?::([^{}]+))?\}")
_TABLE = re.compile(r"CREATE TABLE IF NOT EXISTS \{table:(\w+)\}")


@dataclass(frozen=True, slots=True)
class Engines:
    """`cluster` is None for a single node."""

    database: str
    cluster: str | None = None

    def statements(self, migration: str) -> list[str]:
        """The statements of a migration, ready to run, in order."""
        out = [self._render(statement) for statement in _split(migration)]
        return [statement for statement in out if statement]

    @property
    def on_cluster(self) -> str:
        return "" if self.cluster is None else f"ON CLUSTER '{self.cluster}'"

    def table(self, name: str) -> str:
        """The table that holds the rows."""
        return f"{self.database}.{name}" if self.cluster is None else f"{self.database}.{name}_local"

    def on_every_server(self, engine: str, name: str) -> str:
        """The engine of a table that is not sharded: on a cluster every server has all rows."""
        if self.cluster is None:
            return engine
        # One path for all shards; a replica's macro is its own only within a shard.
        return f"Replicated{engine}('/clickhouse/tables/all/{self.database}/{name}', '{{shard}}-{{replica}}')"

    def _render(self, statement: str) -> str:
        made = _TABLE.search(statement)
        owner = made[1] if made else ""
        text = _PLACE.sub(lambda found: self._place(found[1], found[2] or "", found[3] or "", owner), statement)
        return re.sub(r"[ \t]+\n", "\n", re.sub(r"  +AS\b", " AS", text)).strip()

    def _place(self, what: str, name: str, more: str, owner: str) -> str:
        match what:
            case "table":
                return self.table(name)
            case "read" | "view":
                return f"{self.database}.{name}"
            case "on_cluster":
                return self.on_cluster
            case "engine":
                return self._engine(name, owner)
            case "distributed":
                return self._distributed(name, more)
            case "window":
                setting = "replicated_deduplication_window" if self.cluster else "non_replicated_deduplication_window"
                return f"{setting} = {DEDUPLICATION_WINDOW}"
        raise ValueError(f"no such placeholder: {what}")

    def _engine(self, name: str, owner: str) -> str:
        if self.cluster is None:
            return name
        # {shard} and {replica} are macros of the servers.
        return f"Replicated{name}('/clickhouse/tables/{{shard}}/{self.database}/{owner}', '{{replica}}')"

    def _distributed(self, name: str, key: str) -> str:
        if self.cluster is None:
            return ""
        target = f"Distributed('{self.cluster}', '{self.database}', '{name}_local', {key})"
        return f"CREATE TABLE IF NOT EXISTS {self.database}.{name} {self.on_cluster} AS {self.table(name)} ENGINE = {target}"


def _split(migration: str) -> list[str]:
    """Statements end with a semicolon at the end of a line; a placeholder may stand alone between blank lines."""
    text = "\n".join(line for line in migration.splitlines() if not line.startswith("--"))
    parts = re.split(r";[ \t]*\n|\n\n(?=\{distributed)|(?<=\})\n\n", text + "\n")
    return [part.strip() for part in parts if part.strip()]
