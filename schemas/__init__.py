"""Avro schemas of all topics, how they are registered, and the embedded registry."""
