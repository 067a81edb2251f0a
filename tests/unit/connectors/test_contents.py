"""Message content between protobuf and Avro: every fact of the host arrives, every field of a command leaves."""

from __future__ import annotations

from typing import Any

import pytest

from connectors import contents
from connectors.drivers.whatsmeow import host_pb2 as pb
from connectors.handlers import HANDLERS
from connectors.handlers.message import client_platform
from connectors.sends import refusal
from core.errors import APIError
from core.kafka.codec import Codec
from core.kafka.registry_client import MemoryRegistry
from schemas.catalogue import catalogue

CODEC = Codec(MemoryRegistry(), catalogue().by_topic)


def full() -> pb.Content:
    key = pb.MessageKey(chat="1@g.us", sender="2@lid", from_me=True, id="Q", server_id=3)
    return pb.Content(
        type="edit",
        inner_type="text",
        text="new",
        preview=pb.LinkPreview(url="https://a.example", title="t", description="d", type="NONE", thumbnail=b"jpeg"),
        target=key,
        revoked_by="sender",
        reaction="",
        timer_s=0,
        placeholder="masked",
        wrappers=["ephemeral", "edited"],
        context=pb.Context(
            quoted=pb.Quoted(key=key, type="image", text=""),
            mentions=["2@lid"],
            group_mentions=[pb.GroupMention(jid="3@g.us", subject="s")],
            mention_all=True,
            forwarded=True,
            forwarding_score=5,
            ephemeral_s=86400,
            ephemeral_set_at_ms=7,
            view_once=True,
            thread_id="T",
            conversion={"source": "ad"},
        ),
        raw=pb.Raw(format="wa_e2e", bytes=b"raw", field_numbers=[1, 500], wa_version="2.3"),
        system=pb.SystemInfo(protocol_type="14", stub_type=2, parameters=["p"]),
        edited_at_ms=9,
        text_guessed=True,
    )


def test_everything_of_the_host_is_in_the_record_and_fits_the_schema() -> None:
    record = contents.content(full())
    event: dict[str, Any] = {
        "envelope": {
            "event_id": "e",
            "instance_id": "i",
            "generation": 1,
            "occurred_at": 1,
            "received_at": 1,
        },
        "kind": "message.edit",
        "direction": "in",
        "key": contents.message_key(full().target),
        "content": record,
    }
    back = CODEC.decode("events.message", CODEC.encode("events.message", event))["content"]
    assert back == record
    assert record["context"]["quoted"] == {
        "key": {"chat": "1@g.us", "sender": "2@lid", "from_me": True, "id": "Q", "server_id": 3},
        "type": "image",
        "text": "",
    }
    assert (record["reaction"], record["timer_s"], record["system"]["protocol_type"]) == ("", 0, 14)
    absent = [name for name, value in record.items() if value is None and name != "media"]
    assert absent == []


def test_absent_facts_stay_absent() -> None:
    record = contents.content(pb.Content(type="text"))
    assert {name for name, value in record.items() if value not in (None, [], False)} == {"type"}
    assert contents.content(pb.Content(type="hologram"))["type"] == "unknown"


def test_a_quote_with_mentions_leaves_as_it_was_commanded() -> None:
    command = CODEC.decode_command(
        b"""{"command_id": "c", "instance_id": "i", "type": "send", "to": "491511234567", "content": {
            "type": "text", "text": "hi @4915", "context": {"mentions": ["+49 151 1234567"], "view_once": false,
            "quoted": {"key": {"chat": "491511234567@c.us", "sender": "77@lid", "id": "Q1"}, "text": "before"}}}}"""
    )
    out = contents.outgoing("send", command["content"])
    assert out.context.mentions == ["491511234567@s.whatsapp.net"]
    assert out.context.quoted.key == pb.MessageKey(chat="491511234567@s.whatsapp.net", sender="77@lid", id="Q1")
    assert (out.type, out.text, out.context.quoted.text) == ("text", "hi @4915", "before")


def test_a_wrong_mention_names_its_field() -> None:
    command = CODEC.decode_command(
        b"""{"command_id": "c", "instance_id": "i", "type": "send", "to": "491511234567",
            "content": {"type": "text", "text": "x", "context": {"mentions": ["nobody"]}}}"""
    )
    with pytest.raises(APIError) as wrong:
        contents.outgoing("send", command["content"])
    assert wrong.value.field == "content.context.mentions"


def test_every_event_of_the_protocol_has_a_handler() -> None:
    assert set(HANDLERS) == {each.name for each in pb.Event.DESCRIPTOR.oneofs_by_name["body"].fields}


@pytest.mark.parametrize(
    ("number", "kind", "code"),
    [
        (463, "server", "wa.reachout_locked"),
        (479, "", "wa.invalid"),
        (429, "server", "wa.throughput"),
        (503, "server", "wa.transient"),
        (0, "not_on_whatsapp", "wa.not_on_whatsapp"),
        (0, "not_logged_in", "wa.logged_out"),
        (777, "", "wa.undeliverable"),
    ],
)
def test_refusals_have_catalogue_codes(number: int, kind: str, code: str) -> None:
    assert refusal(number, kind, "").code == code


@pytest.mark.parametrize(
    ("message_id", "platform"),
    [("3A" + "0" * 18, "ios"), ("3E" + "0" * 20, "web"), ("A" * 32, "android"), ("3F1", "desktop"), ("xyz", "unknown")],
)
def test_the_platform_is_guessed_by_the_id(message_id: str, platform: str) -> None:
    assert client_platform(message_id) == platform
