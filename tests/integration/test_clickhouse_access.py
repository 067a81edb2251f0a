"""What a ClickHouse of one's own asks of whoever comes: a user it knows, and TLS."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from clickhouse_driver.errors import ServerException
from pydantic import SecretStr

from analytics.client import as_ours, connected
from analytics.queries.export import export
from analytics.queries.limits import limits
from analytics.queries.run import run
from analytics.rebuild.patience import patiently
from core.errors import DBError, SettingsError
from core.settings import ClickHouseSettings
from tests.support import tls
from tests.support.clickhouse import RunningClickHouse


def ask(settings: ClickHouseSettings) -> list[tuple[int]]:
    with connected(settings) as client:
        rows: list[tuple[int]] = client.execute("SELECT 1")
        return rows


@pytest.mark.parametrize("code", [192, 193, 194, 516])
def test_a_user_that_clickhouse_does_not_know_is_told_as_such(code: int) -> None:
    found = as_ours(ServerException("DB::Exception: no", code), "there:9000")
    assert (found.code, found.retryable) == ("db.clickhouse_denied", False)
    assert "clickhouse.user" in found.next_step


def test_a_wrong_password_is_told_at_once(clickhouse: RunningClickHouse) -> None:
    wrong = SecretStr("wrong")
    settings = clickhouse.settings("default").model_copy(update={"password": wrong, "reader_password": wrong})
    asked: list[Callable[[], object]] = [
        lambda: ask(settings),
        lambda: run(settings, "SELECT 1", {}),
        lambda: export(settings, "SELECT 1", {}, io.BytesIO()),
    ]
    for one in asked:
        began = time.monotonic()
        with pytest.raises(DBError) as caught:
            patiently(one, lambda _text: None)
        assert caught.value.code == "db.clickhouse_denied"
        assert time.monotonic() - began < 60, "it is not asked for again"


@pytest.fixture
def secure(clickhouse: RunningClickHouse, tmp_path: Path) -> Iterator[ClickHouseSettings]:
    there = clickhouse.settings("default")
    known = tls.certificate(tmp_path)
    with ExitStack() as stack:
        port, http_port = (stack.enter_context(tls.in_front_of(one, known)) for one in (there.port, there.http_port))
        yield there.model_copy(update={"port": port, "http_port": http_port, "secure": True, "ssl_ca": known})


def test_with_tls_over_both_protocols(secure: ClickHouseSettings) -> None:
    assert ask(secure) == [(1,)]
    assert run(secure, "SELECT 1 AS one", {}).rows == [(1,)]
    assert export(secure, "SELECT 1", {}, io.BytesIO()) > 0


def test_a_certificate_of_nobody_known_is_refused(secure: ClickHouseSettings) -> None:
    unknown = secure.model_copy(update={"ssl_ca": None})
    for one in (lambda: ask(unknown), lambda: export(unknown, "SELECT 1", {}, io.BytesIO())):
        with pytest.raises(DBError, match="certificate") as caught:
            one()
        assert caught.value.code == "db.clickhouse_unavailable"
    missing = secure.model_copy(update={"ssl_ca": Path("nowhere.pem")})
    with pytest.raises(SettingsError, match="ssl_ca"):
        export(missing, "SELECT 1", {}, io.BytesIO())


@pytest.mark.parametrize(("readonly", "works"), [(2, True), (1, False)])
def test_which_profile_lets_the_readers_limits_come_along(
    clickhouse: RunningClickHouse, readonly: int, works: bool
) -> None:
    """Of a server of one's own: the limits are sent as settings (docs/operations.md)."""
    sent = limits(clickhouse.settings("default").model_copy(update={"external": True}))
    # With the statement, not beside it: the embedded server takes those back after each, which readonly forbids.
    sql = "SELECT 1 SETTINGS " + ", ".join(f"{name} = {value!r}" for name, value in sent.items())
    with connected(clickhouse.settings("default")) as client:
        client.execute(f"SET readonly = {readonly}")
        if works:
            assert client.execute(sql) == [(1,)]
        for refused in ("SET readonly = 0",) if works else (sql,):
            with pytest.raises(ServerException, match="READONLY"):
                client.execute(refused)
