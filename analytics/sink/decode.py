"""A batch of records as rows, without what cannot be a row. Waits for the registry, else pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol
from uuid import UUID

from analytics.sink.rows import EVENT_ID, Row, row
from core.errors import PoisonError
from core.kafka.processor import InRecord


class Decoder(Protocol):
    """`core.kafka.codec.Codec` is one."""

    def decode(self, topic: str, payload: bytes | None) -> dict[str, Any]: ...


@dataclass(slots=True)
class Decoded:
    """`rows` has each event once, in order; `poison` what goes to the dead letters."""

    rows: list[Row] = field(default_factory=list)
    poison: list[tuple[InRecord, PoisonError]] = field(default_factory=list)
    duplicates: int = 0

    def without(self, known: set[UUID]) -> Decoded:
        """The rest, where these are in the table from elsewhere."""
        if not known:
            return self
        rows = [one for one in self.rows if one[EVENT_ID] not in known]
        return Decoded(rows, self.poison, self.duplicates + len(self.rows) - len(rows))


def decode(records: Sequence[InRecord], decoder: Decoder) -> Decoded:
    out = Decoded()
    seen: set[UUID] = set()
    for record in records:
        try:
            made = row(decoder.decode(record.topic, record.value), record)
        except PoisonError as cause:
            out.poison.append((record, cause))
            continue
        if made[EVENT_ID] in seen:
            out.duplicates += 1
            continue
        seen.add(made[EVENT_ID])
        out.rows.append(made)
    return out
