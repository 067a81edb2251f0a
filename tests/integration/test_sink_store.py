"""What the sink inserts stands in the table as it was, however strange, and a copy counts once, rollups included."""

from __future__ import annotations

import json
import secrets

import pytest

from analytics.sink.decode import Decoded, decode
from analytics.sink.ledger import Range
from analytics.sink.rows import LATEST_MS
from analytics.sink.store import Store
from core.errors import APIError, DBError
from core.kafka.codec import Codec
from core.kafka.processor import InRecord
from core.kafka.registry_client import MemoryRegistry
from core.settings import ClickHouseSettings
from schemas.catalogue import catalogue
from tests.support import events as make
from tests.support.clickhouse import RunningClickHouse, migrated, query

pytestmark = pytest.mark.timeout(600)
CODEC = Codec(MemoryRegistry(), catalogue().by_topic)
TOPIC = "events.message"
MONTH_MS = 31 * 86_400_000


@pytest.fixture
def database(clickhouse: RunningClickHouse) -> ClickHouseSettings:
    return migrated(clickhouse, f"store_{secrets.token_hex(4)}")


def decoded(records: list[make.Record], first: int = 0) -> tuple[Range, Decoded]:
    taken = [InRecord(TOPIC, 0, first + n, 0, b"i", CODEC.encode(TOPIC, record)) for n, record in enumerate(records)]
    return Range(TOPIC, 0, first, first + len(records) - 1), decode(taken, CODEC)


def totals(settings: ClickHouseSettings) -> tuple[int, int, int]:
    """Rows, distinct events, events of the rollup."""
    rows, events = query(settings, "SELECT count(), uniqExact(event_id) FROM events")[0]
    return rows, events, query(settings, "SELECT sum(events) FROM volume_hour")[0][0]


def test_times_texts_and_many_months_in_one_batch(database: ClickHouseSettings) -> None:
    """A history of twelve years has more months than ClickHouse takes in one insert by itself."""
    times = [0, -5, 4_102_444_800_000, 2**62, *(make.BASE_MS - n * MONTH_MS for n in range(150))]
    text = "ä\0\U0001f600'\\" * 100_000
    records = [make.message("i", n, at, envelope={"received_at": make.BASE_MS}) for n, at in enumerate(times)]
    records.append(make.message("i", 999, make.BASE_MS, text=text, message_id="LONG"))
    batch, made = decoded(records)
    store = Store(database)
    store.insert(batch, made.rows)
    assert totals(database) == (len(records),) * 3
    low, high = query(database, "SELECT toUnixTimestamp64Milli(min(ts)), toUnixTimestamp64Milli(max(ts)) FROM events")[
        0
    ]
    assert (low, high) == (0, LATEST_MS)
    payload = query(database, "SELECT payload FROM events WHERE message_id = 'LONG'")[0][0]
    assert json.loads(payload)["content"]["text"] == text
    store.close()


def test_a_batch_inserted_again_changes_nothing(database: ClickHouseSettings) -> None:
    batch, made = decoded([make.message("i", n, make.BASE_MS + n) for n in range(50)])
    store = Store(database)
    for _ in range(3):
        assert store.elsewhere(batch, made.rows) == set(), "its own rows are no copies"
        store.insert(batch, made.rows)
    assert totals(database) == (50, 50, 50)
    store.close()


@pytest.mark.parametrize("half", [25, 500])
def test_copies_in_another_batch_are_found(database: ClickHouseSettings, half: int) -> None:
    """Few ids stand in the statement, many go beside it."""
    store = Store(database)
    batch, made = decoded([make.message("i", n, make.BASE_MS + n) for n in range(2 * half)])
    store.insert(batch, made.rows)
    later, more = decoded([make.message("i", n, make.BASE_MS + n) for n in range(half, 3 * half)], first=10_000)
    rest = more.without(store.elsewhere(later, more.rows))
    assert (len(rest.rows), rest.duplicates) == (half, half)
    store.insert(later, rest.rows)
    assert totals(database) == (3 * half,) * 3
    store.close()


def test_without_tables_or_server_it_is_told_what_to_do(
    database: ClickHouseSettings, clickhouse: RunningClickHouse
) -> None:
    batch, made = decoded([make.message("i", 1, make.BASE_MS)])
    query(database, "DROP TABLE events")
    with pytest.raises(APIError, match="wharf clickhouse migrate"):
        Store(database).insert(batch, made.rows)
    with pytest.raises(DBError, match="does not answer"):
        Store(database.model_copy(update={"port": 1})).insert(batch, made.rows)
