"""The envelope and its CloudEvents headers."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from core.clock import ManualClock, SystemClock
from core.envelope import cloud_event_headers, envelope, header, rfc3339


@given(moment=st.integers(0, 4_102_444_800_000))
def test_times_come_back_to_the_millisecond(moment: int) -> None:
    parsed = datetime.fromisoformat(rfc3339(moment))
    assert round((parsed - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() * 1000) == moment


def test_headers_are_binary_mode_cloud_events() -> None:
    headers = cloud_event_headers(
        event_id="e",
        event_type="wharf.message.new",
        instance_id="sales-1",
        time_ms=0,
        subject="chat",
        traceparent="00-1",
    )
    assert dict(headers) == {
        "ce_specversion": b"1.0",
        "ce_id": b"e",
        "ce_type": b"wharf.message.new",
        "ce_source": b"/wharf/instances/sales-1",
        "ce_time": b"1970-01-01T00:00:00.000Z",
        "ce_subject": b"chat",
        "traceparent": b"00-1",
    }
    assert header(headers, "ce_id") == b"e"
    assert header((("a", b"1"), ("a", b"2")), "a") == b"2"
    assert header((), "a") is None


def test_an_envelope_has_every_field() -> None:
    made = envelope(event_id="e", instance_id="i", generation=1, occurred_at=2, received_at=3)
    assert set(made) == {
        *("event_id", "instance_id", "generation", "tenant", "occurred_at", "received_at"),
        *("origin", "session_epoch", "seq", "simulated"),
    }
    assert (made["origin"], made["simulated"], made["seq"]) == ("live", False, None)


def test_clocks() -> None:
    clock = ManualClock(1000)
    clock.advance(500)
    assert (clock.now_ms(), clock.monotonic()) == (1500, 1.5)
    assert abs(SystemClock().now_ms() - datetime.now(UTC).timestamp() * 1000) < 5000
