"""Is a part ready? Each probe asks the way its users would, and says why not."""

from __future__ import annotations

import json
import socket
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import KafkaException

from core.kafka.clients import KafkaClients
from core.settings import KafkaSettings

PROBE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Health:
    """`detail` is the part's own JSON where it has one, else one line under "error"."""

    ready: bool
    detail: dict[str, Any] = field(default_factory=dict)

    @property
    def error(self) -> str:
        return str(self.detail.get("error", ""))


def kafka(settings: KafkaSettings, seconds: float = PROBE_SECONDS) -> Health:
    """Ready when it answers a metadata request with at least one live broker."""
    # A client is costly to make and shy after a refusal: first see whether anybody listens.
    refused = [error for server in settings.bootstrap.split(",") if (error := _refuses(server, seconds))]
    if len(refused) == len(settings.bootstrap.split(",")):
        return Health(False, {"error": refused[0]})
    try:
        metadata = KafkaClients(settings, "wharf-probe").admin().list_topics(timeout=seconds)
    except KafkaException as error:
        return Health(False, {"error": error.args[0].str()})
    return Health(bool(metadata.brokers), {"brokers": len(metadata.brokers), "topics": len(metadata.topics)})


def port(host: str, number: int, seconds: float = PROBE_SECONDS) -> Health:
    """Ready when somebody listens there."""
    error = _refuses(f"{host}:{number}", seconds)
    return Health(not error, {"error": error} if error else {})


def _refuses(server: str, seconds: float) -> str:
    host, _, port = server.rpartition(":")
    try:
        socket.create_connection((host, int(port)), seconds).close()
    except OSError as error:
        return f"{server}: {error}"
    return ""


def http(url: str, seconds: float = PROBE_SECONDS) -> Health:
    """Ready when `url` answers 200; its JSON is the detail either way."""
    try:
        with urllib.request.urlopen(url, timeout=seconds) as answer:  # noqa: S310 - http(s) by the settings' pattern
            return Health(True, _json(answer.read()))
    except urllib.error.HTTPError as error:
        with error:
            return Health(False, {"error": f"HTTP {error.code}", **_json(error.read())})
    except OSError as error:
        return Health(False, {"error": str(getattr(error, "reason", error))})


def _json(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
