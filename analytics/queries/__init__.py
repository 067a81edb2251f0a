"""Named questions to ClickHouse: one SQL file each, with what it answers and its parameters at its head."""
