"""What a component of the stack is: how it is started, what it waits for, and how one sees that it is ready."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from compose.stack.probes import Health


class State(StrEnum):
    WAITING = "waiting"  # for what it needs
    STARTING = "starting"  # runs, is not ready
    READY = "ready"
    DONE = "done"  # a one-shot step that succeeded
    RESTARTING = "restarting"  # died; waits for its pause
    STOPPED = "stopped"
    EXTERNAL = "external"  # not ours to start, and it answers


class StackError(RuntimeError):
    """The stack cannot be started, or not be found, as asked; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Component:
    """`probe` is asked until it says ready; a one-shot component has none: it is done when it exits with 0."""

    name: str
    command: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    address: str = ""
    ports: Mapping[str, int] = field(default_factory=dict)
    prepare: Callable[[], None] | None = None
    probe: Callable[[], Health] | None = None
    health_url: str = ""  # what others may ask, where it is HTTP
    external: bool = False
    stop_seconds: float = 5.0
    folder: Path | None = None  # what it keeps there fills a disk

    @property
    def one_shot(self) -> bool:
        return self.probe is None


def levels(components: Iterable[Component]) -> list[list[Component]]:
    """The components in the order they may be started: each level needs only earlier ones, and every need is there."""
    left: dict[str, Component] = {}
    for component in components:
        if component.name in left:
            raise StackError(f"two components are named {component.name!r}; a slot must not have the name of another")
        left[component.name] = component
    names = set(left)
    out: list[list[Component]] = []
    started: set[str] = set()
    while left:
        level = [component for component in left.values() if started.issuperset(component.needs)]
        if not level:
            unknown = sorted({need for component in left.values() for need in component.needs} - names)
            raise StackError(f"components that need what is not there or each other: {unknown or sorted(left)}")
        for component in level:
            del left[component.name]
        started.update(component.name for component in level)
        out.append(level)
    return out
