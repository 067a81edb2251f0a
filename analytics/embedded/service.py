"""What all connections share, and how a query is counted."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass

from analytics.embedded.access import Account, Accounts
from analytics.embedded.cache import ResultCache
from analytics.embedded.engine import Engine
from analytics.embedded.errors import ABORTED, QUERY_WAS_CANCELLED, TOO_MANY_CONNECTIONS, ServerError
from analytics.embedded.listener import Slots
from analytics.embedded.watch import Watcher
from analytics.embedded.wire import Budget
from core.telemetry.metrics import CLICKHOUSE_ERRORS, CLICKHOUSE_SECONDS, Metrics

# Between two packets of a query, and for the peer to take what we send.
PACKET_SECONDS = 300


@dataclass(frozen=True, slots=True)
class Service:
    engine: Engine
    accounts: Accounts
    watcher: Watcher
    slots: Slots
    budget: Budget
    cache: ResultCache
    metrics: Metrics

    def admit(self, account: Account) -> None:
        """Readers leave the last places to who writes: the sink must get in."""
        if account.is_reader and self.slots.are_scarce:
            raise ServerError(TOO_MANY_CONNECTIONS, "Too many connections to this server. (TOO_MANY_CONNECTIONS)")

    @contextlib.contextmanager
    def counted(self, interface: str) -> Iterator[None]:
        """A query: how long it took and how it ended."""
        started, outcome = time.monotonic(), "done"
        try:
            yield
        except ServerError as error:
            outcome = "cancelled" if error.code == QUERY_WAS_CANCELLED else "failed"
            self.metrics.counter(CLICKHOUSE_ERRORS).labels(code=str(error.code)).inc()
            raise
        finally:
            seconds = time.monotonic() - started
            self.metrics.histogram(CLICKHOUSE_SECONDS).labels(interface=interface, outcome=outcome).observe(seconds)


def leaving() -> ServerError:
    """What a query is told that comes, or still runs, when the server ends."""
    return ServerError(ABORTED, "the server is stopping: ask again when it is back. (ABORTED)")
