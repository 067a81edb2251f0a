"""Events in ClickHouse: the embedded server, the schema, the sink and the named queries."""
