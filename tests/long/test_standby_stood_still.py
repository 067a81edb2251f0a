"""The cleaner takes a tombstone away while a standby stands still: what was deleted stays deleted. Takes about a minute."""

from __future__ import annotations

import signal

from core.kafka.dump import dump
from tests.integration.kernel_support import CLEANED, Bench, closing
from tests.support.kafka import RunningKafka
from tests.support.waiting import wait_until

SECONDS = 180


def test_a_standby_that_stood_still_does_not_revive_what_was_deleted(kafka: RunningKafka) -> None:
    """Away for longer than tombstones are kept, it reads again from the beginning."""
    bench = Bench(kafka.bootstrap, partitions=2)
    bench.make_topics(**CLEANED, delete_retention_ms="4000")
    plain = bench.clients.producer()
    count = 0

    def put(key: bytes, value: bytes | None, partition: int) -> None:
        plain.produce(bench.prefix + "state", value, key, partition=partition)
        assert plain.flush(10) == 0

    def fill(partition: int) -> None:
        nonlocal count
        count += 1
        put(b"filler", b"%d" % count, partition)

    with closing(owner := bench.worker("owner", items=1)) as running:
        owner.wait("owned", bench.partitions)
        for partition in range(bench.partitions):
            put(b"doomed", b"1", partition)
        running.append(heir := bench.worker("heir", items=1, standby=True, session_timeout_ms=100_000))
        followed = heir.wait("owned", seconds=60)[0]["partition"] ^ 1
        wait_until(lambda: heir.follows(bench, followed), 20, "the standby is at the end")
        heir.signal(signal.SIGSTOP)
        wait_until(lambda: heir.stopped, 10, "it stands still")
        # The fetch that was under way takes this one; the tombstone is in none.
        fill(followed)
        put(b"doomed", None, followed)

        def tombstone_is_gone() -> bool:
            # Only what is no longer written to is cleaned.
            fill(followed)
            records = [record for record in dump(bench.clients, ["state"]) if record.partition == followed]
            return not [record for record in records if record.key == b"doomed"]

        wait_until(tombstone_is_gone, SECONDS, "the cleaner removed the tombstone")
        heir.signal(signal.SIGCONT)
        owner.kill()
        heir.wait("owned", bench.partitions, seconds=60)
        assert all(event["same"] for event in heir.seen("restored"))
