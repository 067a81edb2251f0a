"""Structured logs: one event name and facts per line; ids from context; secrets never appear.

A value is redacted when its key names a secret, or when it is a SecretStr, at any depth.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Mapping, MutableMapping
from contextlib import AbstractContextManager
from typing import Any, TextIO

import structlog
from pydantic import SecretBytes, SecretStr
from structlog.contextvars import bound_contextvars, merge_contextvars
from structlog.processors import ExceptionRenderer
from structlog.tracebacks import ExceptionDictTransformer

from core.errors import WharfError

REDACTED = "[redacted]"
_SECRET_KEY = re.compile(
    r"(password|passwd|secret|token|authorization|api_?key|private_?key|media_?key|data_?key|key_material|cookie"
    r"|credential|^qr$|qr_code|pair_?code|^keys$)",
    re.IGNORECASE,
)


def _clean(value: Any) -> Any:
    if isinstance(value, (SecretStr, SecretBytes)):
        return REDACTED
    if isinstance(value, Mapping):
        return {name: REDACTED if _SECRET_KEY.search(str(name)) else _clean(item) for name, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_clean(item) for item in value]
    if isinstance(value, bytes):
        return value.hex() if len(value) <= 64 else f"{value[:16].hex()}… ({len(value)} bytes)"
    return value


def redact(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Processor that makes a line safe to keep."""
    for name in list(event):
        event[name] = REDACTED if name != "event" and _SECRET_KEY.search(name) else _clean(event[name])
    return event


def _unfold_errors(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    if isinstance(event.get("error"), WharfError):
        event["error"] = event["error"].as_dict()
    elif isinstance(event.get("error"), BaseException):
        event["error"] = repr(event["error"])
    return event


def configure_logging(
    *, level: str, log_format: str, component: str, slot: str = "", stream: TextIO | None = None
) -> None:
    """Call once at the start of a process; libraries that use `logging` come out in the same form."""
    stream = sys.stderr if stream is None else stream

    def who(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        event.setdefault("component", component)
        if slot:
            event.setdefault("slot", slot)
        return event

    shared: list[Any] = [
        merge_contextvars,
        who,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _unfold_errors,
        redact,
    ]
    as_json = log_format == "json"
    # Tracebacks never show local variables: they hold keys and messages.
    tracebacks = ExceptionRenderer(ExceptionDictTransformer(show_locals=False))
    render: list[Any] = (
        [tracebacks, structlog.processors.JSONRenderer(default=str)]
        if as_json
        else [structlog.dev.ConsoleRenderer(colors=stream.isatty(), exception_formatter=structlog.dev.plain_traceback)]
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *render],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())


def get_logger(name: str) -> Any:
    """A logger with its module's name."""
    return structlog.stdlib.get_logger(name).bind(logger=name)


def context(
    *, instance_id: str | None = None, command_id: str | None = None, request_id: str | None = None
) -> AbstractContextManager[None]:
    """Ids that stand in every line logged inside the `with`."""
    ids = {"instance_id": instance_id, "command_id": command_id, "request_id": request_id}
    return bound_contextvars(**{name: value for name, value in ids.items() if value is not None})
