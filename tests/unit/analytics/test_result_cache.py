"""The embedded server's cache of results: what it gives again, for how long, and how much it keeps."""

from __future__ import annotations

from collections.abc import Generator, Mapping

import pytest
from prometheus_client import CollectorRegistry

from analytics.embedded.cache import Caching, ResultCache, caching_of
from analytics.embedded.errors import ServerError
from core.telemetry.metrics import Metrics

TEN_SECONDS = {"use_query_cache": "1", "query_cache_ttl": "10"}


class Asked:
    """A cache over an engine whose answer changes with each run; time passes by hand."""

    def __init__(self, **sizes: int) -> None:
        self.now = 100.0
        self.runs = 0
        self.registry = CollectorRegistry()
        self.cache = ResultCache(Metrics(self.registry), lambda: self.now, **sizes)

    def ask(
        self, settings: Mapping[str, str] = TEN_SECONDS, sql: str = "SELECT 1", pieces: int = 1, takes: float = 0.0
    ) -> list[bytes]:
        def run() -> Generator[bytes, None, None]:
            self.runs += 1
            self.now += takes
            yield from [b"%d" % self.runs] * pieces

        return list(self.cache.answer(caching_of("reader", "wharf", settings), sql, "Native", {}, run))

    def metric(self, name: str) -> float:
        value = self.registry.get_sample_value(name)
        assert value is not None
        return value


def test_an_answer_is_given_again_within_its_life_and_never_after() -> None:
    asked = Asked()
    assert asked.ask(takes=4) == [b"1"]
    # Its life began with the query, not with its end.
    asked.now += 5.9
    assert asked.ask() == [b"1"]
    asked.now += 0.1
    assert asked.ask() == [b"2"]
    assert asked.metric("wharf_clickhouse_cache_hits_total") == 1
    assert asked.metric("wharf_clickhouse_cache_misses_total") == 2
    assert asked.metric("wharf_clickhouse_cache_hit_ratio") == pytest.approx(1 / 3)


def test_who_does_not_ask_for_it_gets_a_new_answer() -> None:
    asked = Asked()
    asked.ask()
    for settings in ({}, {"use_query_cache": "0"}, {"query_cache_ttl": "10"}, {**TEN_SECONDS, "query_cache_ttl": "0"}):
        asked.ask(settings)
    assert asked.runs == 5
    assert asked.metric("wharf_clickhouse_cache_hits_total") == 0
    with pytest.raises(ServerError, match="query_cache_ttl"):
        asked.ask({**TEN_SECONDS, "query_cache_ttl": "soon"})


def test_whatever_may_change_the_answer_makes_another_question() -> None:
    asked = Asked()
    asked.ask()
    asked.ask(sql="SELECT 2")
    asked.ask({**TEN_SECONDS, "max_result_rows": "5"})
    wanted = caching_of("reader", "wharf", TEN_SECONDS)
    assert wanted is not None
    for caching, format_name, parameters in (
        (Caching(wanted.seconds, "other", wanted.database, wanted.settings), "Native", {}),
        (Caching(wanted.seconds, wanted.account, "other", wanted.settings), "Native", {}),
        (wanted, "CSV", {}),
        (wanted, "Native", {"x": "1"}),
    ):
        answer = asked.cache.answer(caching, "SELECT 1", format_name, parameters, lambda: (one for one in (b"new",)))
        assert list(answer) == [b"new"]
    assert asked.metric("wharf_clickhouse_cache_hits_total") == 0


def test_an_answer_without_rows_is_an_answer() -> None:
    asked = Asked()
    assert asked.ask(pieces=0) == asked.ask(pieces=0) == []
    assert asked.runs == 1


def test_what_was_not_read_to_its_end_or_failed_is_not_kept() -> None:
    asked = Asked()
    caching = caching_of("reader", "wharf", TEN_SECONDS)
    begun = asked.cache.answer(caching, "SELECT 1", "Native", {}, lambda: (piece for piece in (b"a", b"b")))
    assert next(begun) == b"a"
    begun.close()

    def failing() -> Generator[bytes, None, None]:
        yield b"a"
        raise ServerError(159, "too slow")

    with pytest.raises(ServerError):
        list(asked.cache.answer(caching, "SELECT 1", "Native", {}, failing))
    assert asked.ask() == [b"1"]
    assert asked.metric("wharf_clickhouse_cache_hits_total") == 0


def test_it_keeps_no_more_than_it_may() -> None:
    asked = Asked(max_bytes=10, max_entry_bytes=6, max_entries=3)
    # Too large for an entry.
    assert len(asked.ask(sql="large", pieces=7)) == len(asked.ask(sql="large", pieces=7)) == 7
    assert asked.metric("wharf_clickhouse_cache_bytes") == 0
    for n in range(5):
        asked.ask(sql=f"SELECT {n}", pieces=2)
    assert asked.metric("wharf_clickhouse_cache_bytes") == 6
    runs = asked.runs
    asked.ask(sql="SELECT 4")
    assert asked.runs == runs
    asked.ask(sql="SELECT 1")
    assert asked.runs == runs + 1
    for n in range(5):
        asked.ask(sql=f"SELECT 1{n}", pieces=4)
    assert asked.metric("wharf_clickhouse_cache_bytes") <= 10
