"""CommandResult records. One id per command for all its revisions; finals are counted by it."""

from __future__ import annotations

from typing import Any

from connectors.sends import Problem, Told
from core.ids import result_id


def of(instance_id: str, told: Told, now_ms: int) -> dict[str, Any]:
    command = told.command
    return record(
        instance_id,
        command.command_id,
        command.type,
        told.state,
        final=told.final,
        revision=told.revision,
        now_ms=now_ms,
        problem=told.problem,
        message_id=command.message_id,
        chat=command.chat or (command.lane if command.message_id else None),
        metadata=dict(command.metadata),
        tenant=command.tenant,
    )


def record(
    instance_id: str,
    command_id: str,
    kind: str,
    state: str,
    *,
    final: bool,
    revision: int,
    now_ms: int,
    problem: Problem | None = None,
    message_id: str | None = None,
    chat: str | None = None,
    metadata: dict[str, str] | None = None,
    tenant: str | None = None,
) -> dict[str, Any]:
    return {
        "result_id": result_id(instance_id, command_id),
        "instance_id": instance_id,
        "command_id": command_id,
        "revision": revision,
        "final": final,
        "state": state,
        "type": kind,
        "message_id": message_id,
        "chat": chat,
        "error": None if problem is None else problem.as_record(),
        "until": None,
        "retry_at": None,
        "occurred_at": now_ms,
        "metadata": metadata or {},
        "tenant": tenant,
    }
