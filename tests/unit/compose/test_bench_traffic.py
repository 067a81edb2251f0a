"""Generated traffic is as the topics have it: every record fits its schema and has a row, in the order of time."""

from __future__ import annotations

from collections import Counter

from analytics.sink.decode import decode
from analytics.sink.rows import TOPICS
from compose.bench.traffic import Made, Traffic
from core.kafka.codec import Codec
from core.kafka.processor import InRecord
from core.kafka.registry_client import MemoryRegistry
from schemas.catalogue import catalogue

CODEC = Codec(MemoryRegistry(), catalogue().by_topic)
COUNT = 5000


def traffic(seed: int = 1) -> list[Made]:
    made = Traffic(seed, instances=10, contacts=200, start_ms=1_790_000_000_000, step_ms=500)
    return list(made.take(COUNT))


def test_every_record_fits_its_schema_and_has_a_row_of_its_own() -> None:
    records = [
        InRecord(each.topic, 0, number, each.at, b"", CODEC.encode(each.topic, each.record))
        for number, each in enumerate(traffic())
    ]
    decoded = decode(records, CODEC)
    assert (len(decoded.rows), decoded.duplicates, decoded.poison) == (COUNT, 0, [])


def test_it_comes_in_the_order_of_time_and_again_the_same() -> None:
    made = traffic()
    assert [each.at for each in made] == sorted(each.at for each in made)
    assert made == traffic()
    assert made != traffic(2)


def test_every_topic_has_its_share_and_a_few_have_most() -> None:
    made = traffic()
    topics = Counter(each.topic for each in made)
    assert set(topics) == set(TOPICS)
    assert min(topics["events.message"], topics["events.status"], topics["results"]) > COUNT // 6
    instances = Counter(each.instance for each in made).most_common()
    assert len(instances) == 10
    assert instances[0][1] > 3 * instances[-1][1]
