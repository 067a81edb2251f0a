"""The records the limiter writes: admitted commands, results, forwarded commands, state items.

All are keyed by instance id but the state items, whose key is more than that and which go to the partition by number.
"""

from __future__ import annotations

from typing import Protocol

from core import ids
from core.envelope import cloud_event_headers
from core.errors import CATALOGUE
from core.kafka.processor import Headers, InRecord, OutRecord
from streams.limiter.command import Arrival, Record
from streams.limiter.limits import Allowance
from streams.limiter.validation import MAX_ID, Problem, metadata_fits

ADMITTED, RESULTS, LIMITS, COMMANDS = "commands.admitted", "results", "limits", "commands"
# Marks our own results, which come back to us among those of the connector.
BY = "wharf_process"
PROCESS = b"limiter"
FORWARDED_FROM = "wharf_forwarded_from"

# The connector's results of a command come after these two.
DELAYED_REVISION = 1
LAST_REVISION = 2


class Codec(Protocol):
    """core.kafka.codec.Codec, as far as it is used here."""

    def encode(self, topic: str, record: Record) -> bytes:
        """Wire format of the record."""

    def decode(self, topic: str, payload: bytes | None) -> Record:
        """The record, or PoisonError."""

    def decode_command(self, payload: bytes | None) -> Record:
        """A command, as Avro or as JSON, or PoisonError."""

    def command_hash(self, command: Record) -> str:
        """Hash of the canonical body."""


def result(
    command: Record,
    state: str,
    now_ms: int,
    *,
    final: bool,
    problem: Problem | None = None,
    until_ms: int | None = None,
    kind: str = "final",
) -> Record:
    """A CommandResult of ours. `kind` names another result than the command's own."""
    instance_id, command_id = command["instance_id"], command["command_id"]
    return {
        "result_id": ids.result_id(instance_id, command_id, kind),
        "instance_id": instance_id[:MAX_ID],
        "command_id": command_id[:MAX_ID],
        "revision": DELAYED_REVISION if state == "delayed" else LAST_REVISION,
        "final": final,
        "state": state,
        "type": command["type"],
        "error": None if problem is None else _error(problem),
        "until": until_ms,
        "retry_at": None if problem is None else problem.retry_at_ms,
        "occurred_at": now_ms,
        "metadata": command["metadata"] if metadata_fits(command["metadata"]) else {},
        "tenant": None if command["tenant"] is None else command["tenant"][:MAX_ID],
    }


def _error(problem: Problem) -> Record:
    return {
        "code": problem.code,
        "message": problem.message,
        "field": problem.field,
        "retryable": CATALOGUE[problem.code].retryable,
    }


class Writer:
    """Makes the records; topics are named without their prefix, which the loop adds."""

    def __init__(self, codec: Codec) -> None:
        self._codec = codec

    def encode_result(self, record: Record) -> bytes:
        return self._codec.encode(RESULTS, record)

    def result(self, record: Record, value: bytes, traceparent: str | None) -> OutRecord:
        """`value` is the record encoded, which is also what is remembered of it."""
        headers = cloud_event_headers(
            event_id=f"{record['result_id']}/{record['revision']}",
            event_type=f"wharf.result.{record['state']}",
            instance_id=record["instance_id"],
            time_ms=record["occurred_at"],
            subject=record["command_id"],
            traceparent=traceparent,
        )
        return OutRecord(RESULTS, record["instance_id"].encode(), value, (*headers, (BY, PROCESS)))

    def repeated(self, value: bytes) -> OutRecord:
        """A result that was told before."""
        return self.result(self._codec.decode(RESULTS, value), value, None)

    def admitted(
        self, arrival: Arrival, allowance: Allowance, now_ms: int, *, released: bool, reason: str | None
    ) -> OutRecord:
        value = self._codec.encode(
            ADMITTED,
            {
                "command_id": arrival.command_id,
                "instance_id": arrival.instance_id,
                "type": arrival.type,
                "admitted_at": now_ms,
                "command": arrival.value,
                "decision": {
                    "outcome": "released" if released else "admitted",
                    "lane": arrival.command["lane"],
                    "interval_ms": allowance.interval_ms,
                    "reason": reason,
                },
                "origin": {"partition": arrival.partition, "offset": arrival.offset},
                "body_hash": arrival.body_hash.hex(),
            },
        )
        headers: Headers = () if arrival.traceparent is None else (("traceparent", arrival.traceparent.encode()),)
        return OutRecord(ADMITTED, arrival.instance_id.encode(), value, headers)

    def forwarded(self, record: InRecord, instance_id: str, partition: int) -> OutRecord:
        """A command that stood on another partition than its instance's: the same bytes on the right one."""
        came_from = (FORWARDED_FROM, f"{record.partition}/{record.offset}".encode())
        return OutRecord(COMMANDS, instance_id.encode(), record.value, (*record.headers, came_from), partition)

    def items(self, changes: dict[bytes, bytes | None], partition: int) -> list[OutRecord]:
        return [OutRecord(LIMITS, key, value, partition=partition) for key, value in changes.items()]
