"""Events of Kafka into ClickHouse, each once: batches named in advance, inserted under their name, then marked done."""
