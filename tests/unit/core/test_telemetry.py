"""Logs without secrets, metrics by the names of one file, health over HTTP."""

from __future__ import annotations

import http.client
import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from core.errors import APIError
from core.telemetry import metrics as metrics_module
from core.telemetry.health import Check, HealthServer
from core.telemetry.logs import REDACTED, configure_logging, context, get_logger, redact
from core.telemetry.metrics import CounterName, GaugeName, HistogramName, Metrics


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    """Logs of the test as JSON lines; what was configured before comes back."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    out = io.StringIO()
    configure_logging(level="info", log_format="json", component="tester", slot="t-1", stream=out)
    yield out
    root.handlers, root.level = handlers, level
    structlog.reset_defaults()


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_says_who_what_and_about_whom(stream: io.StringIO) -> None:
    with context(instance_id="sales-1", command_id="c"), context(request_id="r"):
        get_logger("here").info("sent", count=2)
    get_logger("here").info("after")
    sent, after = lines(stream)
    assert {name: sent[name] for name in ("event", "level", "component", "slot", "logger", "count")} == {
        "event": "sent",
        "level": "info",
        "component": "tester",
        "slot": "t-1",
        "logger": "here",
        "count": 2,
    }
    assert (sent["instance_id"], sent["command_id"], sent["request_id"]) == ("sales-1", "c", "r")
    assert "instance_id" not in after
    assert sent["timestamp"].endswith("Z")


def test_library_logs_come_out_alike(stream: io.StringIO) -> None:
    logging.getLogger("lib").warning("slow: %s", "disk")
    (line,) = lines(stream)
    assert (line["event"], line["level"], line["component"]) == ("slow: disk", "warning", "tester")


def test_the_level_is_obeyed(stream: io.StringIO) -> None:
    get_logger("x").debug("hidden")
    assert lines(stream) == []


def test_errors_unfold_and_tracebacks_hide_local_values(stream: io.StringIO) -> None:
    get_logger("x").warning("refused", error=APIError("api.validation", "no such chat", field="to"))

    def fail(hidden: str) -> None:
        raise RuntimeError(f"broke after {len(hidden)}")

    try:
        fail("the contents of a message")
    except RuntimeError:
        get_logger("x").exception("broke")
    refused, broke = lines(stream)
    assert refused["error"]["code"] == "api.validation"
    assert broke["exception"][0]["exc_type"] == "RuntimeError"
    assert "the contents of a message" not in stream.getvalue()


@given(
    name=st.sampled_from(
        [
            "password",
            "sasl_password",
            "API_KEY",
            "message_id_secret",
            "token",
            "Authorization",
            "qr",
            "media_key",
            "keys",
        ]
    ),
    depth=st.integers(0, 3),
)
def test_secrets_are_redacted_at_any_depth(name: str, depth: int) -> None:
    value: Any = {name: "hunter2"}
    for _ in range(depth):
        value = {"inner": [value]}
    clean = redact(None, "", {"event": "e", **value})
    assert "hunter2" not in repr(clean)
    assert REDACTED in repr(clean)


def test_secret_types_are_redacted_under_any_name() -> None:
    assert redact(None, "", {"event": "e", "plain": [SecretStr("hunter2")]})["plain"] == [REDACTED]


def specs() -> list[CounterName | GaugeName | HistogramName]:
    kinds = (CounterName, GaugeName, HistogramName)
    return [value for value in vars(metrics_module).values() if isinstance(value, kinds)]


def test_every_metric_can_be_made_and_names_are_unique() -> None:
    metrics = Metrics()
    for spec in specs():
        match spec:
            case CounterName():
                made: Any = metrics.counter(spec)
            case GaugeName():
                made = metrics.gauge(spec)
            case HistogramName():
                made = metrics.histogram(spec)
        assert made is (metrics.counter(spec) if isinstance(spec, CounterName) else made)
        made.labels(*["x"] * len(spec.labels)) if spec.labels else made
    text = metrics.expose().decode()
    names = [spec.name for spec in specs()]
    assert len(set(names)) == len(names) > 10
    for spec in specs():
        assert spec.name.startswith("wharf_")
        assert spec.name.removesuffix("_total") in text
        assert spec.name.endswith("_total") is isinstance(spec, CounterName)
        assert spec.help


def get(port: int, path: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def test_health_is_the_sum_of_its_checks(stream: io.StringIO) -> None:
    server = HealthServer("tester", Metrics())
    state = {"healthy": True}
    server.add_check("kafka", lambda: Check(state["healthy"], "as told"))
    server.add_check("other", lambda: Check(True))
    port = server.start()
    try:
        assert lines(stream)[0]["port"] == port
        status, body = get(port, "/healthz")
        assert (status, json.loads(body)["status"]) == (200, "ok")
        state["healthy"] = False
        status, body = get(port, "/healthz")
        assert status == 503
        assert json.loads(body)["checks"] == {
            "kafka": {"status": "unavailable", "detail": "as told"},
            "other": {"status": "ok", "detail": ""},
        }
        status, text = get(port, "/metrics")
        assert status == 200
        assert 'wharf_health_check{check="kafka"} 0.0' in text
        assert get(port, "/else")[0] == 404
    finally:
        server.stop()
    with pytest.raises(ConnectionError):
        get(port, "/healthz")
