"""The codec as a process opens it: our schemas, the registry of the settings."""

from __future__ import annotations

import threading

from core.kafka.codec import Codec
from core.kafka.registry_client import OnState, RegistryClient
from core.settings import Settings
from schemas.catalogue import catalogue


def open_codec(settings: Settings, *, stop: threading.Event | None = None, on_state: OnState | None = None) -> Codec:
    """`stop` ends a wait for the registry; `on_state` gets its trouble, and None when it answers again."""
    registry = RegistryClient(settings.registry.url, stop=stop, on_state=on_state)
    return Codec(registry, catalogue().by_topic, settings.kafka.prefix)
