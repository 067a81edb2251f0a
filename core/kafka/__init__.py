"""The Kafka kernel: clients, the transactional loop, take-over, readers, topic administration."""
