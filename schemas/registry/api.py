"""Confluent's REST API: paths, parameters and JSON of the service."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from anyio import to_thread
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from schemas.registry import errors
from schemas.registry.compatibility import Level
from schemas.registry.errors import RegistryError
from schemas.registry.service import Service
from schemas.registry.state import AVRO, State, Version

MEDIA_TYPE = "application/vnd.schemaregistry.v1+json"
VERSION = "7.9.0"
"""The version of Confluent's API that is followed; clients ask for it to know what they may use."""

Health = Callable[[], tuple[bool, dict[str, object]]]
Action = Callable[["Call"], Any]


class Answer(Response):
    media_type = MEDIA_TYPE

    def render(self, content: Any) -> bytes:
        return json.dumps(content, ensure_ascii=False).encode()


class Call:
    """One request, as the actions see it."""

    def __init__(self, service: Service, request: Request, body: dict[str, Any]) -> None:
        self.service = service
        self.body = body
        self._request = request

    @property
    def subject(self) -> str:
        return str(self._request.path_params["subject"])

    @property
    def version(self) -> str:
        return str(self._request.path_params["version"])

    @property
    def schema_id(self) -> int:
        return int(self._request.path_params["schema_id"])

    def flag(self, name: str) -> bool:
        return self._request.query_params.get(name, "false").lower() == "true"

    def text(self, name: str) -> str:
        return self._request.query_params.get(name, "")

    def page(self, items: list[Any]) -> list[Any]:
        """`offset` and `limit` of list requests; a negative limit is none."""
        try:
            offset, limit = int(self.text("offset") or 0), int(self.text("limit") or -1)
        except ValueError as cause:
            raise RegistryError(400, 400, f"offset and limit are numbers: {cause}") from cause
        return items[max(offset, 0) :][: limit if limit >= 0 else None]


def application(service: Service, health: Health) -> Starlette:
    """The ASGI application."""
    return Starlette(
        routes=[*_routes(service), Route("/healthz", _health(health))],
        exception_handlers={RegistryError: _registry_error, HTTPException: _http_error},
    )


def _routes(service: Service) -> list[Route]:
    table: list[tuple[str, str, Action]] = [
        ("GET", "/", lambda _: {}),
        ("GET", "/schemas/types", lambda _: [AVRO]),
        ("GET", "/contexts", lambda _: ["."]),
        ("GET", "/v1/metadata/id", lambda _: {"id": "wharf", "scope": {"path": [], "clusters": {}}}),
        ("GET", "/v1/metadata/version", lambda _: {"version": VERSION, "commitId": ""}),
        ("GET", "/schemas", _schemas),
        ("GET", "/schemas/ids/{schema_id:int}", _schema_by_id),
        ("GET", "/schemas/ids/{schema_id:int}/schema", lambda call: _Raw(call.service.by_id(call.schema_id).text)),
        ("GET", "/schemas/ids/{schema_id:int}/subjects", _subjects_of_id),
        ("GET", "/schemas/ids/{schema_id:int}/versions", _versions_of_id),
        ("GET", "/subjects", _subjects),
        ("POST", "/subjects/{subject}", _lookup),
        ("DELETE", "/subjects/{subject}", _delete_subject),
        ("GET", "/subjects/{subject}/versions", _versions),
        ("POST", "/subjects/{subject}/versions", lambda call: {"id": call.service.register(call.subject, call.body)}),
        ("GET", "/subjects/{subject}/versions/{version}", lambda call: _version(call).answer()),
        ("GET", "/subjects/{subject}/versions/{version}/schema", lambda call: _Raw(_version(call).text)),
        ("GET", "/subjects/{subject}/versions/{version}/referencedby", lambda call: _version(call) and []),
        ("DELETE", "/subjects/{subject}/versions/{version}", _delete_version),
        ("POST", "/compatibility/subjects/{subject}/versions", lambda call: _compatible(call, None)),
        ("POST", "/compatibility/subjects/{subject}/versions/{version}", lambda call: _compatible(call, call.version)),
        ("GET", "/config", lambda call: {"compatibilityLevel": call.service.read(lambda state: state.level(None))}),
        ("PUT", "/config", lambda call: _set_level(call, None)),
        ("DELETE", "/config", lambda call: {"compatibilityLevel": call.service.delete_level(None)}),
        ("GET", "/config/{subject}", _level),
        ("PUT", "/config/{subject}", lambda call: _set_level(call, call.subject)),
        ("DELETE", "/config/{subject}", lambda call: {"compatibilityLevel": call.service.delete_level(call.subject)}),
        ("GET", "/mode", lambda call: {"mode": call.service.read(lambda state: state.mode(None))}),
        ("PUT", "/mode", lambda call: {"mode": call.service.set_mode(None, call.body.get("mode"))}),
        ("GET", "/mode/{subject}", _mode),
        ("PUT", "/mode/{subject}", lambda call: {"mode": call.service.set_mode(call.subject, call.body.get("mode"))}),
        ("DELETE", "/mode/{subject}", lambda call: {"mode": call.service.delete_mode(call.subject)}),
    ]
    return [Route(path, _endpoint(service, action), methods=[method]) for method, path, action in table]


class _Raw(str):
    """A schema's text as the whole answer."""

    __slots__ = ()


def _endpoint(service: Service, action: Action) -> Callable[[Request], Any]:
    async def endpoint(request: Request) -> Response:
        raw = await request.body()
        # Writes wait for Kafka: not on the event loop.
        answer = await to_thread.run_sync(action, Call(service, request, _body(raw)))
        if isinstance(answer, _Raw):
            return PlainTextResponse(answer, media_type=MEDIA_TYPE)
        return Answer(answer)

    return endpoint


def _body(raw: bytes) -> dict[str, Any]:
    if not raw:
        return {}
    try:
        body = json.loads(raw)
    except ValueError as cause:
        raise RegistryError(400, 400, f"the body is not JSON: {cause}") from cause
    if not isinstance(body, dict):
        raise RegistryError(400, 400, "the body is no JSON object")
    return body


def _chosen(call: Call) -> list[Version]:
    """Every version that the parameters of a list ask for."""
    prefix = call.text("subjectPrefix")
    deleted = call.flag("deleted") or call.flag("deletedOnly")
    found: list[Version] = call.service.read(lambda state: list(state.everything(deleted=deleted)))
    return [
        version
        for version in found
        if version.subject.startswith(prefix) and (version.deleted or not call.flag("deletedOnly"))
    ]


def _subjects(call: Call) -> list[str]:
    return call.page(sorted({version.subject for version in _chosen(call)}))


def _schemas(call: Call) -> list[dict[str, Any]]:
    chosen = _chosen(call)
    if call.flag("latestOnly"):
        chosen = list({version.subject: version for version in chosen}.values())
    return call.page([version.answer() for version in chosen])


def _schema_by_id(call: Call) -> dict[str, Any]:
    version = call.service.by_id(call.schema_id)
    body = {"schema": version.text, **version.details()}
    if call.flag("fetchMaxId"):
        body["maxId"] = call.service.read(lambda state: state.max_id)
    return body


def _with_id(call: Call) -> list[Version]:
    call.service.by_id(call.schema_id)

    def question(state: State) -> list[Version]:
        return [v for v in state.everything(deleted=call.flag("deleted")) if v.schema_id == call.schema_id]

    found: list[Version] = call.service.read(question)
    wanted = call.text("subject")
    return [version for version in found if not wanted or version.subject == wanted]


def _subjects_of_id(call: Call) -> list[str]:
    return call.page(sorted({version.subject for version in _with_id(call)}))


def _versions_of_id(call: Call) -> list[dict[str, Any]]:
    return call.page([{"subject": version.subject, "version": version.version} for version in _with_id(call)])


def _versions(call: Call) -> list[int]:
    only = call.flag("deletedOnly")
    found = call.service.versions(call.subject, deleted=call.flag("deleted") or only)
    return call.page([version.version for version in found if version.deleted or not only])


def _version(call: Call) -> Version:
    return call.service.version(call.subject, call.version, deleted=call.flag("deleted"))


def _lookup(call: Call) -> dict[str, Any]:
    return call.service.lookup(call.subject, call.body, deleted=call.flag("deleted")).answer()


def _delete_subject(call: Call) -> list[int]:
    return call.service.delete_subject(call.subject, permanent=call.flag("permanent"))


def _delete_version(call: Call) -> int:
    return call.service.delete_version(call.subject, call.version, permanent=call.flag("permanent"))


def _compatible(call: Call, version: str | None) -> dict[str, Any]:
    conflicts = call.service.conflicts(call.subject, call.body, version)
    body: dict[str, Any] = {"is_compatible": not conflicts}
    if call.flag("verbose"):
        body["messages"] = [str(conflict) for conflict in conflicts]
    return body


def _level(call: Call) -> dict[str, Any]:
    own: Level | None = call.service.read(lambda state: state.own_level(call.subject))
    if own is None and not call.flag("defaultToGlobal"):
        raise errors.config_not_found(call.subject)
    return {"compatibilityLevel": own or call.service.read(lambda state: state.level(call.subject))}


def _set_level(call: Call, subject: str | None) -> dict[str, Any]:
    return {"compatibility": call.service.set_level(subject, call.body.get("compatibility"))}


def _mode(call: Call) -> dict[str, Any]:
    own: str | None = call.service.read(lambda state: state.own_mode(call.subject))
    if own is None and not call.flag("defaultToGlobal"):
        raise errors.mode_not_found(call.subject)
    return {"mode": own or call.service.read(lambda state: state.mode(call.subject))}


def _health(health: Health) -> Callable[[Request], Any]:
    async def endpoint(_: Request) -> Response:
        healthy, body = health()
        return Response(json.dumps(body), status_code=200 if healthy else 503, media_type="application/json")

    return endpoint


async def _registry_error(_: Request, error: Any) -> Response:
    return Answer({"error_code": error.code, "message": error.message}, status_code=error.status)


async def _http_error(_: Request, error: Any) -> Response:
    return Answer(
        {"error_code": error.status_code, "message": f"HTTP {error.status_code} {error.detail}"}, error.status_code
    )
