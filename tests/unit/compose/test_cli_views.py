"""What the commands show: lines of tail, places in time, the QR code."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
import qrcode
from hypothesis import given
from hypothesis import strategies as st

from compose.cli.cluster import Seen
from compose.cli.commands import catalogued, failure
from compose.cli.deadletters import readable
from compose.cli.output import as_json
from compose.cli.pairing import draw
from compose.cli.tail import full, line, parse_start
from core.errors import APIError, PoisonError, WhatsAppError
from core.kafka.codec import Codec
from core.kafka.dump import Beginning, End, Offset, Time
from core.kafka.processor import InRecord
from core.kafka.registry_client import MemoryRegistry
from schemas.catalogue import catalogue

NOW = 1_790_000_000_000


def seen(topic: str, value: dict[str, Any], raw: bytes | None = b"x", fault: PoisonError | None = None) -> Seen:
    return Seen(InRecord(topic, 3, 17, NOW, b"sales-1", raw), value, fault)


def through_the_wire(topic: str, record: dict[str, Any]) -> dict[str, Any]:
    codec = Codec(MemoryRegistry(), catalogue().by_topic)
    return codec.decode(topic, codec.encode(topic, record))


ENVELOPE = {"event_id": "e", "instance_id": "sales-1", "generation": 1, "occurred_at": 1, "received_at": 1}
KEY = {"chat": "49151@s.whatsapp.net", "id": "A1"}


@pytest.mark.parametrize(
    ("text", "start"),
    [
        ("beginning", Beginning()),
        ("end", End()),
        ("0", Offset(0)),
        ("1700", Offset(1700)),
        ("15m", Time(NOW - 900_000)),
        ("2d", Time(NOW - 172_800_000)),
        ("2026-03-01T09:00:00+00:00", Time(1_772_355_600_000)),
        ("2026-03-01T10:00:00+01:00", Time(1_772_355_600_000)),
    ],
)
def test_where_from_points(text: str, start: object) -> None:
    assert parse_start(text, NOW) == start


def test_a_time_without_zone_is_local_time() -> None:
    moment = datetime(2026, 3, 1, 9, 0).astimezone()  # without zone is what is tested
    assert parse_start("2026-03-01T09:00", NOW) == Time(int(moment.astimezone(UTC).timestamp() * 1000))


@given(st.text(max_size=20))
def test_any_text_is_a_start_or_an_error_that_names_the_option(text: str) -> None:
    try:
        parse_start(text, NOW)
    except APIError as error:
        field = error.field
    else:
        return
    assert field == "--from"


@pytest.mark.parametrize(
    ("topic", "record", "shown"),
    [
        (
            "events.message",
            {"envelope": ENVELOPE, "kind": "message.new", "direction": "in", "key": KEY,
             "content": {"type": "text", "text": "Hello\nyou"}},
            "← 49151@s.whatsapp.net: Hello you",
        ),
        (
            "events.message",
            {"envelope": ENVELOPE, "kind": "message.edit", "direction": "out", "key": KEY, "content": {"type": "image"}},
            "→ 49151@s.whatsapp.net edit: [image]",
        ),
        (
            "events.status",
            {"envelope": ENVELOPE, "chat": {"jid": "c"}, "message_id": "A1", "status": "read", "rank": 4},
            "A1 read c",
        ),
        ("events.session", {"envelope": ENVELOPE, "kind": "k", "state": "failed", "reason": "why"}, "failed: why"),
        (
            "events.session",
            {"envelope": ENVELOPE, "kind": "session.restart_required", "state": "unknown"},
            "restart_required",
        ),
        (
            "results",
            {"result_id": "r", "instance_id": "i", "command_id": "c-1", "revision": 1, "final": True, "state": "failed",
             "occurred_at": 1, "error": {"code": "wa.invalid", "message": "no"}},
            "c-1 failed (final) wa.invalid: no",
        ),
        ("commands", {"command_id": "c-1", "instance_id": "i", "type": "logout"}, "c-1 logout"),
        (
            "audit",
            {"audit_id": "a", "request_id": "r", "kind": "instance_create", "outcome": "rejected", "actor": "cli",
             "subject": "s", "at": 1, "error": {"code": "api.conflict", "message": "exists"}},
            "instance_create by cli rejected: exists",
        ),
        ("pairing", {"envelope": ENVELOPE, "qr": "2@secret"}, "a code to pair with (--json shows it)"),
    ],
)  # fmt: skip
def test_a_line_for_people(topic: str, record: dict[str, Any], shown: str) -> None:
    text = line(seen(topic, through_the_wire(topic, record)))
    assert text.endswith(f" {topic} sales-1 {shown}")
    assert "\n" not in text


def test_a_line_tells_deletions_internals_and_what_cannot_be_decoded() -> None:
    assert line(seen("instances", {}, raw=None)).endswith("deleted")
    assert line(seen("sessions", {}, raw=b"12345")).endswith("5 bytes")
    fault = PoisonError("api.validation", "odd")
    assert line(seen("commands", {}, raw=b"x", fault=fault)).endswith("cannot be decoded: odd")


def test_json_is_the_record_with_its_place() -> None:
    body = json.loads(as_json(full(seen("commands", {"command_id": "c"}))))
    assert body["command_id"] == "c"
    place = {"topic": "commands", "partition": 3, "offset": 17, "timestamp": NOW, "key": "sales-1"}
    assert body["_record"] == place
    faulty = full(seen("commands", {}, raw=b"x", fault=PoisonError("api.validation", "odd")))
    assert faulty["_record"]["error"]["detail"] == "odd"
    assert faulty["_record"]["value"] == b"x"
    assert full(seen("instances", {}, raw=None))["_record"]["tombstone"] is True


@given(st.text(alphabet="abcXYZ0189,=/+@", min_size=1, max_size=250))
def test_the_drawn_qr_code_is_the_code(text: str) -> None:
    code = qrcode.QRCode(border=2, error_correction=qrcode.ERROR_CORRECT_L)
    code.add_data(text)
    cells = {" ": (False, False), "▀": (True, False), "▄": (False, True), "█": (True, True)}
    rows: list[list[bool]] = []
    for row in draw(text).plain.split("\n"):
        rows.append([cells[char][0] for char in row])
        rows.append([cells[char][1] for char in row])
    wanted = [[bool(cell) for cell in row] for row in code.get_matrix()]
    assert rows[: len(wanted)] == wanted


def test_a_final_result_becomes_the_error_it_tells() -> None:
    told = {"code": "wa.not_on_whatsapp", "message": "no account", "field": "to"}
    error = failure({"state": "failed", "error": told})
    assert isinstance(error, WhatsAppError)
    assert (error.code, error.message, error.field) == ("wa.not_on_whatsapp", "failed: no account", "to")
    assert failure({"state": "unknown", "error": None}).message == "the command ended as unknown"
    later = catalogued({"code": "wa.of_a_later_version", "message": "m"}, "m")
    assert "wa.of_a_later_version" in later.message


def test_values_of_dead_letters_are_readable() -> None:
    assert readable(None) == ""
    assert readable(b'{"a":1}') == '{"a":1}'
    assert readable(b"\0\1") == "hex 0001"
    assert readable(b"\xff") == "hex ff"
