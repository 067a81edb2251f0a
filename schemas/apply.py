"""Schemas are registered when wharf is deployed: `apply` does it, `check` says beforehand what would be refused.

Rule: every subject is FULL_TRANSITIVE, and nothing is registered unless everything can be.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from enum import StrEnum
from types import TracebackType
from typing import Any

import httpx

from core.errors import APIError, DBError
from core.kafka.registry_client import CONTENT_TYPE
from core.settings import Settings
from schemas.catalogue import Schema, catalogue
from schemas.registry.compatibility import Level
from schemas.registry.compatibility import check as compatibility

LEVEL = Level.FULL_TRANSITIVE


class Outcome(StrEnum):
    REGISTERED = "registered"
    NEW = "new"
    CHANGED = "changed"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Report:
    """What is so for a subject, or after `apply` was done. `reasons` tell field by field why it is refused."""

    subject: str
    outcome: Outcome
    schema_id: int | None = None
    version: int | None = None
    reasons: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        return {
            "subject": self.subject,
            "outcome": self.outcome.value,
            "id": self.schema_id,
            "version": self.version,
            "reasons": self.reasons,
        }


class Registration:
    """The requests to a registry that deploying needs; it does not wait for one that is away."""

    def __init__(self, url: str, *, timeout_s: float = 30.0) -> None:
        self._url = url
        headers = {"Content-Type": CONTENT_TYPE, "Accept": CONTENT_TYPE}
        self._http = httpx.Client(base_url=url, timeout=timeout_s, headers=headers)

    def __enter__(self) -> Registration:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def versions(self, subject: str) -> list[tuple[int, str]]:
        """Number and text of every registered version, oldest first."""
        answer = self._ask("GET", f"/subjects/{subject}/versions", missing=True)
        numbers: list[int] = [] if answer is None else answer
        texts = [self._ask("GET", f"/subjects/{subject}/versions/{number}") for number in numbers]
        return [(number, text["schema"]) for number, text in zip(numbers, texts, strict=True)]

    def set_level(self, subject: str) -> None:
        self._ask("PUT", f"/config/{subject}", {"compatibility": LEVEL.value})

    def level(self, subject: str) -> str | None:
        answer = self._ask("GET", f"/config/{subject}", missing=True)
        return None if answer is None else answer["compatibilityLevel"]

    def register(self, subject: str, schema: Schema) -> tuple[int, int]:
        """Id and version."""
        body = {"schema": json.dumps(schema), "schemaType": "AVRO"}
        schema_id = self._ask("POST", f"/subjects/{subject}/versions", body)["id"]
        return schema_id, self._ask("POST", f"/subjects/{subject}", body)["version"]

    def find(self, subject: str, schema: Schema) -> tuple[int, int] | None:
        """Id and version of this very schema, if it is registered."""
        answer = self._ask(
            "POST", f"/subjects/{subject}", {"schema": json.dumps(schema), "schemaType": "AVRO"}, missing=True
        )
        return None if answer is None else (answer["id"], answer["version"])

    def _ask(self, method: str, path: str, body: dict[str, Any] | None = None, *, missing: bool = False) -> Any:
        try:
            answer = self._http.request(method, path, json=body)
        except httpx.TransportError as cause:
            raise DBError("db.registry_unavailable", f"{self._url}: {str(cause) or type(cause).__name__}") from cause
        if missing and answer.status_code == httpx.codes.NOT_FOUND:
            return None
        if answer.is_server_error:
            raise DBError("db.registry_unavailable", f"{self._url}: {_message(answer)}")
        if not answer.is_success:
            raise APIError("api.conflict", f"the registry refuses {method} {path}: {_message(answer)}")
        return answer.json()


def check(settings: Settings) -> list[Report]:
    """What `apply` would do, subject by subject."""
    with Registration(settings.registry.url) as registry:
        return [
            _look(registry, subject, schema) for subject, schema in catalogue().subjects(settings.kafka.prefix).items()
        ]


def apply(settings: Settings) -> list[Report]:
    """Register everything; nothing when one of them would be refused."""
    subjects = catalogue().subjects(settings.kafka.prefix)
    with Registration(settings.registry.url) as registry:
        reports = [_look(registry, subject, schema) for subject, schema in subjects.items()]
        if any(report.outcome is Outcome.REFUSED for report in reports):
            return reports
        done = []
        for report in reports:
            if registry.level(report.subject) != LEVEL:
                registry.set_level(report.subject)
            if report.outcome is not Outcome.REGISTERED:
                schema_id, version = registry.register(report.subject, subjects[report.subject])
                report = Report(report.subject, report.outcome, schema_id, version)
            done.append(report)
        return done


def _look(registry: Registration, subject: str, schema: Schema) -> Report:
    found = registry.find(subject, schema)
    if found is not None:
        return Report(subject, Outcome.REGISTERED, *found)
    versions = registry.versions(subject)
    conflicts = compatibility(LEVEL, schema, [(number, json.loads(text)) for number, text in versions])
    if conflicts:
        return Report(subject, Outcome.REFUSED, reasons=[str(conflict) for conflict in conflicts])
    return Report(subject, Outcome.CHANGED if versions else Outcome.NEW)


def _message(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["message"])
    except (ValueError, KeyError, TypeError):
        return f"HTTP {answer.status_code} {answer.text[:200]}"
