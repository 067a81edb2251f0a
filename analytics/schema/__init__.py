"""The tables of ClickHouse: numbered migrations, the engines they use, how long rows are kept."""
