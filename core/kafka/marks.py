"""Marks of ownership: who holds a partition, written in the metadata of every offset commit and in the state topic.

The newest commit tells the owner without reading the partition; the records are the audit trail, and the position item
stands in when the group's offsets are gone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from core.errors import DBError

OWNER_KEY = b"\x00owner"
POSITION_KEY = b"\x00position"


def is_own_key(key: bytes | None) -> bool:
    """Keys of the loop's own items; no item of a processor begins with a zero byte."""
    return key is not None and key.startswith(b"\x00")


MarkKind = Literal["claim", "release"]


@dataclass(frozen=True, slots=True)
class Mark:
    """`incarnation` tells one run of a slot from the next, `member` one stay in the group from the next."""

    kind: MarkKind
    slot: str
    incarnation: str
    member: str = ""

    def encode(self) -> str:
        body = {"t": self.kind, "slot": self.slot, "inc": self.incarnation, "member": self.member}
        return json.dumps(body, separators=(",", ":"))


def decode_mark(metadata: str | None) -> Mark | None:
    """The mark in an offset's metadata; None where somebody else committed (an administrator, a tool)."""
    if not metadata:
        return None
    try:
        body = json.loads(metadata)
        if body["t"] in ("claim", "release"):
            return Mark(body["t"], str(body["slot"]), str(body["inc"]), str(body.get("member", "")))
    except (ValueError, KeyError, TypeError):
        pass
    return None


def encode_position(partition_positions: Mapping[str, int]) -> bytes:
    """Next offset per input topic of one partition."""
    body = {"t": "position", "at": dict(sorted(partition_positions.items()))}
    return json.dumps(body, separators=(",", ":")).encode()


def decode_position(value: bytes) -> dict[str, int]:
    try:
        return {str(topic): int(offset) for topic, offset in json.loads(value)["at"].items()}
    except (ValueError, KeyError, TypeError, AttributeError) as cause:
        raise DBError("db.state_corrupt", "the position item cannot be read") from cause
