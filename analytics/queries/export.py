"""A query's answer as a file that ClickHouse itself makes, over its HTTP interface: Parquet, which the native protocol has not.

It reads as `wharf query` does, as the reader and within its limits. The server answers only when it has all of it, so that
what stopped the query is told before the first byte; what arrives is Parquet from its first mark to its last, or an error.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import BinaryIO, Final

import httpx
from clickhouse_driver.errors import ServerException

from analytics.client import ANSWER_SECONDS, CONNECT_SECONDS, as_ours, require_enabled
from analytics.queries.limits import limits, named
from analytics.queries.run import parameters
from core.errors import APIError, DBError, SettingsError, WharfError
from core.settings import ClickHouseSettings

PARQUET: Final = "Parquet"
# What a Parquet file begins and ends with.
_MARK = b"PAR1"
_CODE = "X-ClickHouse-Exception-Code"
_FORMAT = "X-ClickHouse-Format"


def export(settings: ClickHouseSettings, sql: str, values: Mapping[str, str], out: BinaryIO) -> int:
    """Writes the answer to `out`; its size in bytes. APIError for a wrong statement, OSError is `out`'s."""
    require_enabled(settings)
    address = http_address(settings)
    given = {"database": settings.database, "default_format": PARQUET, "wait_end_of_query": "1"}
    given |= parameters(values) | {name: str(value) for name, value in limits(settings).items()}
    headers = {
        "X-ClickHouse-User": settings.reader_user,
        "X-ClickHouse-Key": settings.reader_password.get_secret_value(),
    }
    patience = httpx.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS)
    try:
        with (
            named(settings),
            httpx.Client(headers=headers, timeout=patience, trust_env=False, verify=_trust(settings)) as client,
            client.stream("POST", f"{address}/", params=given, content=sql.encode()) as answer,
        ):
            if answer.status_code != httpx.codes.OK:
                raise _refusal(answer, address)
            if answer.headers.get(_FORMAT, PARQUET).lower() != PARQUET.lower():
                text = f"the statement says FORMAT {answer.headers[_FORMAT]}: leave that out for Parquet"
                raise APIError("api.validation", text, field="format")
            return _copied(answer, out, address)
    except httpx.HTTPError as cause:
        raise DBError("db.clickhouse_unavailable", f"ClickHouse at {address} does not answer: {cause}") from cause


def http_address(settings: ClickHouseSettings) -> str:
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return f"{'https' if settings.secure else 'http'}://{host}:{settings.http_port}"


def _trust(settings: ClickHouseSettings) -> ssl.SSLContext | bool:
    """Who may have signed the server's certificate; without TLS nobody is asked."""
    if not settings.secure:
        return False
    try:
        return ssl.create_default_context(cafile=settings.ssl_ca)
    except OSError as cause:
        raise SettingsError(
            "config.invalid", f"{settings.ssl_ca}: {cause.strerror or cause}", field="clickhouse.ssl_ca"
        ) from cause


def _copied(answer: httpx.Response, out: BinaryIO, address: str) -> int:
    size, first, last = 0, b"", b""
    for piece in answer.iter_bytes():
        out.write(piece)
        size += len(piece)
        first = first if len(first) >= len(_MARK) else (first + piece)[: len(_MARK)]
        last = (last + piece)[-len(_MARK) :]
    if not size:
        raise APIError("api.validation", "the statement has no rows to write: Parquet is made of a SELECT", field="sql")
    if (first, last) != (_MARK, _MARK):
        raise DBError("db.clickhouse_unavailable", f"what ClickHouse at {address} sent is no whole Parquet file")
    return size


def _refusal(answer: httpx.Response, address: str) -> WharfError:
    """`Code: 62. DB::Exception: …` as the native protocol's errors are told."""
    text = answer.read().decode("utf-8", "replace").strip()
    code = answer.headers.get(_CODE, "")
    if not code.isdigit():
        text = f"ClickHouse at {address} answers {answer.status_code}: {text[:200]}"
        return DBError("db.clickhouse_unavailable", text)
    return as_ours(ServerException(text.removeprefix(f"Code: {code}. "), int(code)), address)
