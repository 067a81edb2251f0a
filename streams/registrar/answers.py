"""Requests that were answered lately, by instance and request id: who asks again gets the same answer.

Bounded per partition; after a restart it is read back from the end of `wa.audit`, which holds every answer.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, Final

REMEMBERED: Final = 2_000


@dataclass(frozen=True, slots=True)
class Answer:
    """What was asked, and the value of the AuditEvent that answered."""

    kind: str
    value: bytes


class Answers:
    """Of one partition."""

    def __init__(self, limit: int = REMEMBERED) -> None:
        self._limit = limit
        self._by_request: OrderedDict[tuple[str, str], Answer] = OrderedDict()

    def __len__(self) -> int:
        return len(self._by_request)

    def get(self, instance_id: str, request_id: str) -> Answer | None:
        return self._by_request.get((instance_id, request_id))

    def add(self, audit: dict[str, Any], value: bytes) -> None:
        """The first answer to a request stays its answer."""
        key = (audit["subject"], audit["request_id"])
        if key in self._by_request:
            return
        self._by_request[key] = Answer(audit["kind"], value)
        if len(self._by_request) > self._limit:
            self._by_request.popitem(last=False)
