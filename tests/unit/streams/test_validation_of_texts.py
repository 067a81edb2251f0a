"""What stands around a text has to be in the text: mentions and link previews; and who a presence command is about."""

from __future__ import annotations

from typing import Any

import pytest

from streams.limiter.validation import MAX_THUMBNAIL_BYTES, problem_of
from tests.support.limiter import CODEC, as_json, command

TARGET = {"chat": "49151234567", "id": "A"}


def record_of(body: dict[str, Any]) -> dict[str, Any]:
    return CODEC.decode_command(as_json(body))


def saying(text: str, type_: str = "send", **more: Any) -> dict[str, Any]:
    return command("c", type_=type_, to="49151234567", content={"type": "text", "text": text, **more})


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (saying("hello", context={"mentions": ["49151234567"]}), "content.context.mentions[0]"),
        (saying("@49151234567", context={"mentions": ["+49 151 234567", "8@lid"]}), "content.context.mentions[1]"),
        (saying("new", "edit", target=TARGET, context={"mentions": ["8@lid"]}), "content.context.mentions[0]"),
        (saying("see", preview={"title": "X"}), "content.preview.url"),
        (saying("see", preview={"url": "x.org"}), "content.preview.url"),
        (saying("new", "edit", target=TARGET, preview={"url": "x.org"}), "content.preview.url"),
        (saying("x.org", preview={"url": "x.org", "type": "film"}), "content.preview.type"),
        (
            saying("x.org", preview={"url": "x.org", "thumbnail": "A" * (MAX_THUMBNAIL_BYTES // 3 * 4 + 8)}),
            "content.preview.thumbnail",
        ),
        (command("c", type_="presence", presence="subscribe", to=None), "to"),
    ],
)
def test_the_wrong_field_is_named(body: dict[str, Any], field: str) -> None:
    problem = problem_of(record_of(body), 100)
    assert problem is not None
    assert (problem.code, problem.field) == ("api.validation", field)


@pytest.mark.parametrize(
    "body",
    [
        saying("hi @49151234567 and @8", context={"mentions": ["+49 151 234567", "8@lid"], "mention_all": True}),
        saying("see x.org", preview={"url": "x.org", "title": "X", "type": "video", "thumbnail": "AAAA"}),
        saying("see x.org", preview={"url": "x.org", "type": "NONE"}),
        command("c", type_="presence", presence="subscribe", to="49151234567"),
    ],
)
def test_what_is_in_the_text_passes(body: dict[str, Any]) -> None:
    assert problem_of(record_of(body), 100) is None
