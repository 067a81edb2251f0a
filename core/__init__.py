"""What every process shares: settings, errors, ids, the Kafka kernel, telemetry, security."""
