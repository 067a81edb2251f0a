"""Addresses people write become one canonical JID, or an error that says what is wrong; nothing else ever happens."""

from __future__ import annotations

import re
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import APIError
from core.jid import ChatKind, Jid, parse_jid, parse_phone, parse_recipient


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("+4915123456789", "4915123456789@s.whatsapp.net"),
        ("4915123456789", "4915123456789@s.whatsapp.net"),
        ("  +49 (151) 234-567.89 ", "4915123456789@s.whatsapp.net"),
        ("+49\u00a0151\u202f23456789", "4915123456789@s.whatsapp.net"),
        ("004915123456789", "4915123456789@s.whatsapp.net"),
        ("4915123456789@c.us", "4915123456789@s.whatsapp.net"),
        ("4915123456789@C.US", "4915123456789@s.whatsapp.net"),
        ("+4915123456789@s.whatsapp.net", "4915123456789@s.whatsapp.net"),
        ("4915123456789:12@s.whatsapp.net", "4915123456789@s.whatsapp.net"),
        ("4915123456789.0:12@s.whatsapp.net", "4915123456789@s.whatsapp.net"),
        ("4915123456789@hosted", "4915123456789@s.whatsapp.net"),
        ("100000012345678@lid", "100000012345678@lid"),
        ("100000012345678:3@lid", "100000012345678@lid"),
        ("100000012345678@hosted.lid", "100000012345678@lid"),
        ("120363000000000001@g.us", "120363000000000001@g.us"),
        ("4915123456789-1500000000@g.us", "4915123456789-1500000000@g.us"),
        ("status@broadcast", "status@broadcast"),
        ("120363000000000002@newsletter", "120363000000000002@newsletter"),
        ("13135550002@bot", "13135550002@bot"),
    ],
)
def test_every_way_to_write_an_address_gives_one_jid(text: str, canonical: str) -> None:
    assert str(parse_recipient(text)) == canonical


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty"),
        ("   ", "empty"),
        ("0151 23456789", "country code"),
        ("1234", "5 to 15 digits"),
        ("+1234567890123456", "5 to 15 digits"),
        ("anna", "neither a phone number nor a JID"),
        ("++4915123456789", "neither a phone number nor a JID"),
        ("٤٩١٥١٢٣٤٥٦٧٨٩", "neither a phone number nor a JID"),
        ("4915123456789@example.com", "the server is none of"),
        ("4915123456789@", "the server is none of"),
        ("@s.whatsapp.net", "nothing is no address on s.whatsapp.net"),
        ("anna@s.whatsapp.net", "no address on s.whatsapp.net"),
        ("1@2@s.whatsapp.net", "the server is none of"),
        ("status:1@broadcast", "no address on broadcast"),
        ("120363000000000001:2@g.us", "no address on g.us"),
        ("1" * 200, "longer than 128"),
    ],
)
def test_what_is_no_address_says_why(text: str, reason: str) -> None:
    with pytest.raises(APIError, match=re.escape(reason)) as caught:
        parse_recipient(text)
    assert (caught.value.code, caught.value.field) == ("api.validation", "to")


def test_the_error_names_the_callers_field() -> None:
    with pytest.raises(APIError) as caught:
        parse_phone("anna", field="pairing.phone")
    assert caught.value.field == "pairing.phone"


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("4915123456789@c.us", ChatKind.USER),
        ("1@lid", ChatKind.USER),
        ("120363000000000001@g.us", ChatKind.GROUP),
        ("status@broadcast", ChatKind.STATUS),
        ("12345@broadcast", ChatKind.BROADCAST),
        ("12345@newsletter", ChatKind.NEWSLETTER),
        ("12345@bot", ChatKind.BOT),
        ("12345@msgr", ChatKind.UNKNOWN),
    ],
)
def test_kinds(text: str, kind: ChatKind) -> None:
    assert parse_jid(text).kind is kind


ADDRESS_LIKE = st.text(alphabet="0123456789+ .:-()@/abcdefgilnorstuw\u00a0٣", max_size=40) | st.builds(
    "{}@{}".format,
    st.text(max_size=20),
    st.sampled_from(["c.us", "lid", "g.us", "s.whatsapp.net", "hosted", "broadcast", "x"]),
)


@given(st.text(max_size=150) | ADDRESS_LIKE)
def test_any_text_gives_a_canonical_jid_or_a_validation_error(text: str) -> None:
    try:
        jid = parse_recipient(text)
    except APIError as error:
        found = (error.code, error.field)
    else:
        assert re.fullmatch(r"[a-z0-9-]+@[a-z.]+", str(jid))
        assert parse_recipient(str(jid)) == jid, "what is canonical stays as it is"
        return
    assert found == ("api.validation", "to")


@given(st.from_regex(r"[1-9][0-9]{6,13}", fullmatch=True), st.randoms(use_true_random=False))
def test_separators_do_not_matter(digits: str, rnd: Random) -> None:
    written = "+" + "".join(d + rnd.choice(["", "", " ", "-", ".", "/", "\u00a0"]) for d in digits)
    assert parse_recipient(written) == Jid(digits, "s.whatsapp.net")
