"""Topics read again, so that what ClickHouse lost is there again."""
