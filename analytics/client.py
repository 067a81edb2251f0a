"""Connections to ClickHouse over its native protocol, and what its errors mean for whoever asked.

A connection belongs to one thread. Errors of the driver become DBError: `db.clickhouse_unavailable` where trying again
helps or nobody answers, `db.clickhouse_denied` where it does not know the user, APIError where the statement itself is wrong.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from clickhouse_driver import Client
from clickhouse_driver.errors import Error, NetworkError, ServerException

from core.errors import APIError, DBError, WharfError
from core.settings import ClickHouseSettings

CONNECT_SECONDS = 5
ANSWER_SECONDS = 120
# What is wrong with the statement, not with the server: syntax, unknown names, types, arguments, limits of the caller.
_OF_THE_STATEMENT = frozenset(
    {6, 8, 10, 16, 26, 27, 36, 41, 42, 43, 46, 47, 48, 53, 62, 63, 70, 115, 158, 159, 164, 179}
)
_OF_THE_STATEMENT |= frozenset({184, 215, 241, 307, 349, 386, 396, 452, 456, 497})
# … numbers and sizes out of bounds, division by zero, what is too slow or thrown by the statement itself, switched off.
_OF_THE_STATEMENT |= frozenset({69, 128, 131, 153, 160, 168, 344, 352, 395, 446, 467, 469})
# Unknown user, wrong or missing password, and all of these in one, as newer servers say it.
_OF_THE_USER = frozenset({192, 193, 194, 516})
UNKNOWN_TABLE, UNKNOWN_DATABASE = 60, 81


def connect(
    settings: ClickHouseSettings,
    *,
    database: str | None = None,
    reader: bool = False,
    answer_seconds: int = ANSWER_SECONDS,
    **given: Any,
) -> Client:
    """A client that connects at its first statement; `given` are ClickHouse's own settings for every statement. `reader`:
    as the user who may only read. DBError where ClickHouse is switched off."""
    require_enabled(settings)
    user, password = (settings.reader_user, settings.reader_password) if reader else (settings.user, settings.password)
    return Client(
        settings.host,
        port=settings.port,
        user=user,
        password=password.get_secret_value(),
        database=settings.database if database is None else database,
        connect_timeout=CONNECT_SECONDS,
        send_receive_timeout=answer_seconds,
        sync_request_timeout=CONNECT_SECONDS,
        client_name="wharf",
        secure=settings.secure,
        ca_certs=None if settings.ssl_ca is None else str(settings.ssl_ca),
        settings=given,
    )


def require_enabled(settings: ClickHouseSettings) -> None:
    if not settings.enabled:
        text = "no ClickHouse runs here: clickhouse.enabled is false. `wharf down` and then `wharf up --analytics` start it"
        raise DBError("db.clickhouse_unavailable", text, retryable=False)


@contextmanager
def connected(
    settings: ClickHouseSettings, *, database: str | None = None, reader: bool = False, **given: Any
) -> Iterator[Client]:
    """A client for a few statements; errors as ours."""
    client = connect(settings, database=database, reader=reader, **given)
    try:
        with told(address_of(settings)):
            yield client
    finally:
        client.disconnect()


@contextmanager
def told(address: str) -> Iterator[None]:
    """What the driver raises inside, as an error of ours."""
    try:
        yield
    except (Error, OSError, EOFError) as cause:
        raise as_ours(cause, address) from cause


def as_ours(cause: BaseException, address: str) -> WharfError:
    if isinstance(cause, ServerException):
        text = str(cause.message).split("Stack trace:")[0].strip().removeprefix("DB::Exception: ")
        if cause.code in (UNKNOWN_TABLE, UNKNOWN_DATABASE):
            return APIError(
                "api.not_found", f"{text}: `wharf clickhouse migrate` makes the tables", clickhouse=cause.code
            )
        if cause.code in _OF_THE_USER:
            return DBError("db.clickhouse_denied", f"ClickHouse at {address}: {text}", clickhouse=cause.code)
        if cause.code in _OF_THE_STATEMENT:
            return APIError("api.validation", f"ClickHouse: {text}", clickhouse=cause.code)
        return DBError("db.clickhouse_unavailable", f"ClickHouse at {address}: {text}", clickhouse=cause.code)
    text = str(cause.message if isinstance(cause, NetworkError) else cause) or type(cause).__name__
    return DBError("db.clickhouse_unavailable", f"ClickHouse at {address} does not answer: {text}")


def address_of(settings: ClickHouseSettings) -> str:
    return f"{settings.host}:{settings.port}"
