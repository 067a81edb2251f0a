"""The embedded schema registry: Confluent's REST API over Confluent's records in the topic `_schemas`."""
