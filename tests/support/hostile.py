"""Hostile input for every parser on the Python side, made from a seed: short in the unit tests, long in `make test-long`.

Each target takes a random source and one count, and raises when something does not end as promised.
"""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError, Message

from connectors.drivers.whatsmeow import host_pb2 as pb
from connectors.drivers.whatsmeow.framing import FrameError, FrameReader, frame
from core import ids
from core.errors import APIError, PoisonError
from core.jid import Jid, parse_jid, parse_phone, parse_recipient
from core.kafka import sizes
from core.kafka.processor import InRecord, OutRecord
from core.telemetry.metrics import Metrics
from streams.limiter.limits import Policy
from streams.limiter.processor import LimiterProcessor
from tests.support.connector import Rig
from tests.support.limiter import CODEC, T0, as_avro, command, session_event

PARTITIONS = 4
HOME = ids.partition_for("sales-1", PARTITIONS)
TEXTS = (
    "",
    "x",
    "\x00",
    "\ud7ff",
    "ü" * 40,
    "😀",
    "+4915112345678",
    "a@lid",
    "c1",
    "9" * 30,
    "-1",
    " ",
    "\n",
    "sales-1",
)
NUMBERS = (0, 1, -1, 2**31 - 1, -(2**31), 2**53, 2**63 - 1, -(2**63), 2**64, 1.5, -0.0, 1e308)


def damaged(rng: random.Random, data: bytes) -> bytes:
    """A few bytes changed, cut, added or moved."""
    out = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        at = rng.randint(0, len(out))
        match rng.randint(0, 4):
            case 0 if at < len(out):
                out[at] = rng.randrange(256)
            case 1:
                del out[at : at + rng.randint(1, 5)]
            case 2:
                out[at:at] = rng.randbytes(rng.randint(1, 5))
            case 3:
                out[at:at] = out[at // 2 : at // 2 + rng.randint(1, 20)]
            case _:
                out[at : at + 1] = rng.choice((b"\x00", b"\xff", b"\x80\x80\x80\x80\x08", b'"', b"{", b"]", b"\\u0000"))
    return bytes(out)


def _fields(rng: random.Random) -> dict[str, Any]:
    """Fields of a command, mostly of the right type."""
    key = {"chat": _text(rng), "sender": rng.choice((None, _text(rng))), "id": _text(rng)}
    content = {
        "type": rng.choice(("text", "edit", "reaction", "revoke", "unknown", "image")),
        "text": rng.choice((None, "", _text(rng), "y" * rng.choice((1, 65_536, 65_537)))),
        "target": rng.choice((None, key)),
        "reaction": rng.choice((None, _text(rng))),
        "context": rng.choice((None, {"mentions": [_text(rng)] * rng.choice((0, 1, 1_025)), "quoted": {"key": key}})),
    }
    offered = {
        "command_id": rng.choice(("c1", "c2", _text(rng), f"c{rng.randrange(10**6)}")),
        "instance_id": rng.choice(("sales-1", "sales-1", "nobody", _text(rng))),
        "type": rng.choice(("send", "edit", "revoke", "react", "read", "typing", "presence", "pair", "logout", "cancel",
                            "vote", "unknown")),
        "to": rng.choice((None, "+4915112345678", _text(rng))),
        "content": rng.choice((None, content)),
        "lane": rng.choice(("auto", "reply", "cold", "unknown")),
        "not_before": rng.choice((None, T0 + 5, rng.choice(NUMBERS[:8]))),
        "expires_at": rng.choice((None, T0 + 9, rng.choice(NUMBERS[:8]))),
        "on_unknown": rng.choice(("resend", "hold", "unknown")),
        "metadata": rng.choice(({}, {_text(rng): _text(rng)}, {"m": "z" * 17_000})),
        "requested_by": rng.choice((None, _text(rng))),
        "tenant": rng.choice((None, _text(rng), "t" * 200)),
        "target_command_id": rng.choice((None, "c1", _text(rng))),
        "pairing": rng.choice((None, {"method": rng.choice(("qr", "code", "unknown")), "phone": _text(rng)})),
        "presence": rng.choice((None, "composing", "available")),
        "read": rng.choice((None, {"message_ids": [_text(rng)] * rng.randint(0, 2), "sender": _text(rng)})),
    }  # fmt: skip
    kept = {name: value for name, value in offered.items() if rng.random() < 0.6}
    if rng.random() < 0.9:
        kept = {"command_id": offered["command_id"], "instance_id": offered["instance_id"], "type": "send", **kept}
    return kept


def _text(rng: random.Random) -> str:
    return rng.choice(
        (*TEXTS, "".join(chr(rng.choice((65, 233, 0x4E00, 0x1F600, 7))) for _ in range(rng.randint(0, 9))))
    )


def command_value(rng: random.Random) -> bytes | None:
    """The value of a record in `commands`, good or bad."""
    record = _fields(rng) if rng.random() < 0.7 else command("c1")
    good = orjson.dumps(record)
    if rng.random() < 0.5:
        try:
            good = CODEC.encode("commands", CODEC.decode_command(good))
        except PoisonError:
            good = as_avro(command("c3"))
    match rng.randint(0, 9):
        case 0:
            return rng.randbytes(rng.randint(0, 60))
        case 1:
            return b"\x00" + struct.pack(">I", rng.choice((1, 2, 3, 77))) + rng.randbytes(rng.randint(0, 80))
        case 2:
            return b"{" + rng.randbytes(rng.randint(0, 60))
        case 3:
            return rng.choice((None, b"", b"{}", b"{", json.dumps({"command_id": rng.choice(NUMBERS)}).encode()))
        case 4 | 5:
            return damaged(rng, good)
        case _:
            return good


def _expect(true: bool, about: object) -> None:
    if not true:
        raise AssertionError(repr(about))


# ---------------------------------------------------------------------------------------------- targets


def command_decoder(rng: random.Random, count: int) -> None:
    """A command, or PoisonError; what was decoded has a hash and encodes again."""
    for _ in range(count):
        value = command_value(rng)
        try:
            record = CODEC.decode_command(value)
        except PoisonError as poison:
            _expect(poison.code in ("api.validation", "api.unknown_schema"), poison)
            continue
        assert len(CODEC.command_hash(record)) == 64
        assert CODEC.decode("commands", CODEC.encode("commands", record)) == record


def addresses(rng: random.Random, count: int) -> None:
    """A canonical address, which is its own canonical form, or `api.validation` with the field."""
    seeds = ("+49 151 123-456", "004915112345678", "4915112345678:12@s.whatsapp.net", "1.2:3@lid", "120363@g.us", "x@c.us",
             "123-456@g.us", "status@broadcast", "1@newsletter", "\u0661\u0662@lid", "@", "0151", "1@hosted.lid")  # fmt: skip
    for _ in range(count):
        text = damaged(rng, rng.choice(seeds).encode()).decode(errors="replace")
        for parse in (parse_recipient, parse_jid):
            try:
                found: Jid = parse(text, "field")
            except APIError as error:
                _expect((error.code, error.field) == ("api.validation", "field"), error)
                continue
            assert parse_jid(str(found)) == found
            assert str(found).isascii()
        try:
            digits = parse_phone(text, "field")
        except APIError as error:
            _expect(error.field == "field", error)
            continue
        assert parse_phone(f"+{digits}") == digits


def limiter(folder: Path) -> Callable[[random.Random, int], None]:
    """Each record is answered: with a result, a dead letter, or by being forwarded. Nothing is produced that is too large."""
    processor = LimiterProcessor(CODEC, partitions=PARTITIONS, folder=folder, policy=Policy(), metrics=Metrics())
    topics = ("commands", "results", "events.session")
    instance = {"instance_id": "sales-1", "generation": 7, "version": 1, "desired": "online", "updated_at": T0}
    processor.table(InRecord("instances", HOME, 0, T0, b"sales-1", CODEC.encode("instances", instance)))
    processor.owned(HOME, {(topic, HOME): 0 for topic in topics})
    online = CODEC.encode("events.session", session_event("sales-1", 7, "online"))
    offsets = dict.fromkeys(topics, 0)

    def given(rng: random.Random, topic: str, value: bytes | None) -> InRecord:
        offsets[topic] += 1
        headers = rng.choice(
            ((), (("traceparent", rng.randbytes(55)),), (("wharf_process", b"limiter"),), (("h", bytes(2 << 20)),))
        )
        key = rng.choice((b"sales-1", b"sales-1", None, b"", b"\xff", rng.randbytes(9), bytes(40_000)))
        return InRecord(topic, HOME, offsets[topic], rng.choice((T0, -1, 2**62)), key, value, headers)

    def run(rng: random.Random, count: int) -> None:
        processor.collect([given(rng, "events.session", online)], T0)
        for number in range(count):
            now = T0 + number * rng.choice((1, 10))
            topic = "commands" if rng.random() < 0.9 else rng.choice(topics)
            value = command_value(rng) if topic == "commands" else damaged(rng, online)
            produced = _records(processor.collect([given(rng, topic, value)], now))
            for record in produced:
                sizes.check(record)
            if topic == "commands":
                assert any(each.topic in ("results", "deadletter", "commands") for each in produced), value

    return run


def _records(batch: dict[int, Any]) -> list[OutRecord]:
    return [record for work in batch.values() for record in work.records]


def fill(rng: random.Random, message: Message, depth: int = 0) -> Message:
    """Random fields of a protobuf message, at the edges of what its types allow."""
    for field in message.DESCRIPTOR.fields:
        if rng.random() < (0.5 if depth < 4 else 0.9) and field.containing_oneof is None:
            continue
        if field.containing_oneof is not None and rng.random() < 0.7:
            continue
        if field.type == FieldDescriptor.TYPE_MESSAGE:
            if field.message_type is not None and field.message_type.GetOptions().map_entry:
                continue
            target = getattr(message, field.name)
            fill(rng, target.add() if field.is_repeated else target, depth + 1)
            if not field.is_repeated:
                target.SetInParent()
        elif field.is_repeated:
            getattr(message, field.name).extend(_scalar(rng, field) for _ in range(rng.randint(0, 3)))
        else:
            setattr(message, field.name, _scalar(rng, field))
    return message


def _scalar(rng: random.Random, field: Any) -> Any:
    kind = field.cpp_type
    match kind:
        case FieldDescriptor.CPPTYPE_STRING if field.type == FieldDescriptor.TYPE_BYTES:
            return rng.randbytes(rng.choice((0, 1, 40, 70_000 if rng.random() < 0.02 else 5)))
        case FieldDescriptor.CPPTYPE_STRING:
            return _text(rng) * (9_000 if rng.random() < 0.005 else 1)
        case FieldDescriptor.CPPTYPE_BOOL:
            return rng.random() < 0.5
        case FieldDescriptor.CPPTYPE_ENUM:
            return rng.choice((0, 1, 2, 3, 7, 99))
        case FieldDescriptor.CPPTYPE_INT32:
            return rng.choice((0, 1, -1, 2**31 - 1, -(2**31)))
        case FieldDescriptor.CPPTYPE_UINT32:
            return rng.choice((0, 1, 2**32 - 1))
        case FieldDescriptor.CPPTYPE_INT64:
            return rng.choice((0, 1, -1, T0, 2**63 - 1, -(2**63)))
        case FieldDescriptor.CPPTYPE_UINT64:
            return rng.choice((0, 1, 2**64 - 1))
        case _:
            return rng.choice((0.0, -1.0, 1e308, float("nan")))


def host_events(rng: random.Random, count: int) -> None:
    """Any entry of the host ends in records that may be produced; after it, a good message still does."""
    rig = Rig()
    rig.instance()
    rig.online()
    for number in range(count):
        if number % 400 == 0:
            # What was committed does not matter here; the log would only grow.
            rig = Rig()
            rig.instance()
            rig.online()
        event = pb.Event()
        fill(rng, event)
        entry = pb.JournalEntry(session=rig.driver.session, events=[event])
        if rng.random() < 0.3:
            fill(rng, entry.changes.add())
        position = None if rng.random() < 0.98 else rng.choice((0, 1, 2**63))
        changes = [(change.name, None if change.tombstone else change.value) for change in entry.changes]
        rig.driver.entry(event, changes=changes, position=position)
        for record in rig.turn():
            sizes.check(record)
        rig.clock.advance(50)
        for _ in range(3):
            rig.turn()
        if rig.driver.closed:
            rig.driver.gone("requested")
            rig = Rig()
            rig.instance()
            rig.online()


def host_frames(rng: random.Random, count: int) -> None:
    """Any bytes from the host are messages or one of the two errors that end it."""
    seeds = [frame(fill(rng, pb.FromHost()).SerializeToString()) for _ in range(50)]
    for _ in range(count):
        stream = b"".join(rng.choice(seeds) for _ in range(rng.randint(1, 3)))
        if rng.random() < 0.8:
            stream = damaged(rng, stream)
        reader = FrameReader()
        cut = rng.randint(1, len(stream) + 1)
        try:
            for at in range(0, len(stream), cut):
                for body in reader.feed(stream[at : at + cut]):
                    pb.FromHost.FromString(body)
        except (FrameError, DecodeError):
            continue
