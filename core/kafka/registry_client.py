"""What a process needs of a schema registry while it runs: the id of its own schema, and the schema behind an id.

Rules: schemas are registered at deploy time, never here. A registry that does not answer is waited for, however long,
and told to `on_state`; only `stop` ends the wait. An id the registry does not know is a fact, not a failure.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import Any, Protocol, TypeAlias

import httpx

from core.errors import DBError, SettingsError
from core.telemetry.logs import get_logger

Schema: TypeAlias = dict[str, Any]
OnState: TypeAlias = Callable[[str | None], None]

CONTENT_TYPE = "application/vnd.schemaregistry.v1+json"
FIRST_WAIT_S = 0.1
LONGEST_WAIT_S = 2.0


class UnknownSchemaError(LookupError):
    """The registry answers, and knows no schema of this id."""


class Registry(Protocol):
    def schema_id(self, subject: str, schema: Schema) -> int:
        """The id under which this very schema is registered in the subject."""

    def schema(self, schema_id: int) -> Schema:
        """The schema behind an id, or UnknownSchemaError."""


class RegistryClient:
    """A registry with Confluent's REST API.

    `stop` ends a wait (DBError `db.registry_unavailable`); `on_state` gets the trouble while waiting and None after it.
    """

    def __init__(
        self,
        url: str,
        *,
        stop: threading.Event | None = None,
        on_state: OnState | None = None,
        timeout_s: float = 10.0,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._log = get_logger(__name__)
        self._url = url
        self._stop = stop or threading.Event()
        self._on_state = on_state or (lambda _: None)
        # Asked a few times in the life of a process: no connection is worth keeping.
        self._http = httpx.Client(
            base_url=url,
            timeout=timeout_s,
            transport=transport,
            limits=httpx.Limits(max_keepalive_connections=0),
            headers={"Content-Type": CONTENT_TYPE, "Accept": CONTENT_TYPE},
        )

    def close(self) -> None:
        self._http.close()

    def schema_id(self, subject: str, schema: Schema) -> int:
        answer = self._ask("POST", f"/subjects/{subject}", {"schema": json.dumps(schema), "schemaType": "AVRO"})
        if answer.status_code == httpx.codes.NOT_FOUND:
            raise SettingsError(
                "config.topics", f"the schema of {subject} is not registered: run `wharf schemas apply`"
            )
        return int(_good(answer)["id"])

    def schema(self, schema_id: int) -> Schema:
        answer = self._ask("GET", f"/schemas/ids/{schema_id}")
        if answer.status_code == httpx.codes.NOT_FOUND:
            raise UnknownSchemaError(schema_id)
        body = _good(answer)
        if body.get("schemaType", "AVRO") != "AVRO":
            raise UnknownSchemaError(schema_id)
        schema = json.loads(body["schema"])
        return schema if isinstance(schema, dict) else {"type": schema}

    def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> httpx.Response:
        """Ask until it is answered; server errors count as no answer."""
        wait_s = FIRST_WAIT_S
        waited = False
        while True:
            trouble: str
            try:
                answer = self._http.request(method, path, json=body)
            except httpx.TransportError as cause:
                trouble = f"{self._url}: {str(cause) or type(cause).__name__}"
            else:
                if not answer.is_server_error:
                    if waited:
                        self._on_state(None)
                    return answer
                trouble = f"{self._url}: HTTP {answer.status_code}"
            if not waited:
                self._log.warning("registry_unreachable", trouble=trouble)
            waited = True
            self._on_state(trouble)
            if self._stop.wait(wait_s):
                raise DBError("db.registry_unavailable", f"stopped while waiting for the schema registry: {trouble}")
            wait_s = min(wait_s * 2, LONGEST_WAIT_S)


def _good(answer: httpx.Response) -> dict[str, Any]:
    if not answer.is_success:
        raise DBError("db.registry_unavailable", f"{answer.request.url}: HTTP {answer.status_code} {answer.text[:200]}")
    body: dict[str, Any] = answer.json()
    return body


class MemoryRegistry:
    """A registry within the process, for tests and for reading dumps: ids in the order of first use."""

    def __init__(self) -> None:
        self._ids: dict[str, int] = {}
        self._schemas: dict[int, Schema] = {}

    def schema_id(self, subject: str, schema: Schema) -> int:  # noqa: ARG002  # one id for all subjects
        text = json.dumps(schema, sort_keys=True)
        found = self._ids.setdefault(text, len(self._ids) + 1)
        self._schemas[found] = schema
        return found

    def schema(self, schema_id: int) -> Schema:
        if schema_id not in self._schemas:
            raise UnknownSchemaError(schema_id)
        return self._schemas[schema_id]
