"""ClickHouse for a machine that has none: its native protocol and its HTTP interface over chDB, on loopback."""
