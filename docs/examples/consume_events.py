"""Print every message of every instance, from the beginning, and go on from where it stopped at the next start.

python docs/examples/consume_events.py [group id]
"""

import os
import sys

from confluent_kafka import Consumer
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer
from confluent_kafka.serialization import MessageField, SerializationContext

BOOTSTRAP = os.environ.get("WHARF_KAFKA__BOOTSTRAP", "127.0.0.1:9092")
REGISTRY = os.environ.get("WHARF_REGISTRY__URL", "http://127.0.0.1:8081")
TOPIC = "wa.events.message"

deserialize = AvroDeserializer(SchemaRegistryClient({"url": REGISTRY}))
consumer = Consumer(
    {
        "bootstrap.servers": BOOTSTRAP,
        "group.id": sys.argv[1] if len(sys.argv) > 1 else "example-consumer",
        "auto.offset.reset": "earliest",
        # Uncommitted records are work in progress and may be taken back.
        "isolation.level": "read_committed",
    }
)
consumer.subscribe([TOPIC])
try:
    while True:
        record = consumer.poll(1)
        if record is None:
            continue
        if record.error():
            sys.exit(str(record.error()))
        event = deserialize(record.value(), SerializationContext(TOPIC, MessageField.VALUE))
        print(
            event["envelope"]["instance_id"],
            "→" if event["direction"] == "out" else "←",
            event["key"]["chat"],
            event["content"].get("text") or f"[{event['content']['type']}]",
            flush=True,
        )
except KeyboardInterrupt:
    pass
finally:
    consumer.close()
