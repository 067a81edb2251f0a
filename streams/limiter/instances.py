"""What `wa.instances` says, per partition, as far as the limiter needs it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from streams.limiter.limits import INTERVAL, Facts, Mode

_MODES: dict[str, Mode] = {"default": "default", "off": "off", "custom": "custom"}


def facts_of(instance: Mapping[str, Any]) -> Facts:
    """The facts of an Instance record. A mode of a later version counts as the default: limits protect."""
    limits = instance["limits"]
    interval = limits["overrides"].get(INTERVAL, "")
    return Facts(
        generation=instance["generation"],
        desired=instance["desired"],
        mode=_MODES.get(limits["mode"], "default"),
        interval_ms=int(interval) if interval.isdecimal() else None,
    )


class InstanceTable:
    """The instances of one partition, and which of them changed since somebody asked."""

    def __init__(self) -> None:
        self._facts: dict[str, Facts] = {}
        self._changed: set[str] = set()

    def facts(self, instance_id: str) -> Facts | None:
        return self._facts.get(instance_id)

    def put(self, instance_id: str, facts: Facts | None) -> None:
        if facts == self._facts.get(instance_id):
            return
        if facts is None:
            del self._facts[instance_id]
        else:
            self._facts[instance_id] = facts
        self._changed.add(instance_id)

    def take_changed(self) -> set[str]:
        changed, self._changed = self._changed, set()
        return changed
