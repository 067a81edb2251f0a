"""Is a part ready? Each probe asks the way its users would, and says why not."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

PROBE_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Health:
    """`detail` is the part's own JSON where it has one, else one line under "error"."""

    ready: bool
    detail: dict[str, Any] = field(default_factory=dict)


def kafka(config: dict[str, Any], seconds: float = PROBE_SECONDS) -> Health:
    """Ready when it answers a metadata request and is a broker of its own cluster."""
    # librdkafka writes a line to stderr for each refused connection while the broker starts.
    admin = AdminClient({**config, "log_level": 0})
    try:
        metadata = admin.list_topics(timeout=seconds)
    except KafkaException as error:
        return Health(False, {"error": error.args[0].str()})
    return Health(bool(metadata.brokers), {"brokers": len(metadata.brokers), "topics": len(metadata.topics)})


def http(url: str, seconds: float = PROBE_SECONDS) -> Health:
    """Ready when `url` answers 200; its JSON is the detail either way."""
    try:
        with urllib.request.urlopen(url, timeout=seconds) as answer:  # noqa: S310 - our own loopback address
            return Health(True, _json(answer.read()))
    except urllib.error.HTTPError as error:
        with error:
            return Health(False, _json(error.read()) or {"error": f"HTTP {error.code}"})
    except OSError as error:
        return Health(False, {"error": str(getattr(error, "reason", error))})


def _json(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
