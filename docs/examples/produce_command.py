"""Produce one Avro command and wait for its final result.

python docs/examples/produce_command.py sales-1 +4915123456789 "Hello" [command id]
"""

import os
import sys
import uuid

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer, AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext

BOOTSTRAP = os.environ.get("WHARF_KAFKA__BOOTSTRAP", "127.0.0.1:9092")
REGISTRY = os.environ.get("WHARF_REGISTRY__URL", "http://127.0.0.1:8081")

instance, to, text = sys.argv[1:4]
command_id = sys.argv[4] if len(sys.argv) > 4 else str(uuid.uuid4())

registry = SchemaRegistryClient({"url": REGISTRY})
schema = registry.get_latest_version("wa.commands-value").schema.schema_str
# Schemas are registered when wharf is deployed, never while producing.
serialize = AvroSerializer(registry, schema, conf={"auto.register.schemas": False, "use.latest.version": True})
deserialize = AvroDeserializer(registry)

# Stand at the end of the results before the command is produced, so that its result cannot be missed.
results = Consumer(
    {"bootstrap.servers": BOOTSTRAP, "group.id": f"example-{command_id}", "isolation.level": "read_committed"}
)
partitions = results.list_topics("wa.results", 10).topics["wa.results"].partitions
results.assign(
    [
        TopicPartition("wa.results", p, results.get_watermark_offsets(TopicPartition("wa.results", p), 10)[1])
        for p in partitions
    ]
)

command = {
    "command_id": command_id,
    "instance_id": instance,
    "type": "send",
    "to": to,
    "content": {"type": "text", "text": text},
}
# murmur2_random is the partitioner of every Java client; wharf keys all topics by instance with it.
producer = Producer({"bootstrap.servers": BOOTSTRAP, "partitioner": "murmur2_random"})
producer.produce(
    "wa.commands", key=instance, value=serialize(command, SerializationContext("wa.commands", MessageField.VALUE))
)
producer.flush(10)

while True:
    record = results.poll(60)
    if record is None:
        sys.exit(f"no final result for {command_id} within 60 s: is the instance online? (wharf status)")
    if record.error():
        sys.exit(str(record.error()))
    result = deserialize(record.value(), SerializationContext("wa.results", MessageField.VALUE))
    if result["command_id"] == command_id:
        print(result["state"], result.get("message_id") or "", (result.get("error") or {}).get("message") or "")
        if result["final"]:
            break
results.close()
