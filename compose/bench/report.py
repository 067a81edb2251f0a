"""The one object a benchmark prints. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

# Digits that mean something in a measurement of a shared machine.
_DIGITS = 4


@dataclass(frozen=True, slots=True)
class Target:
    """A figure with its goal; names carry the unit. `at_least` where more is better; a `lower_bound` proves no upper goal."""

    name: str
    goal: float
    value: float
    at_least: bool = False
    lower_bound: bool = False

    @property
    def met(self) -> bool:
        return self.value >= self.goal if self.at_least else self.value <= self.goal and not self.lower_bound

    @property
    def wanted(self) -> str:
        return f"{'≥' if self.at_least else '≤'} {self.goal:g}"


@dataclass(frozen=True, slots=True)
class Report:
    """`figures` are numbers, or lists of numbers where each repetition is told."""

    bench: str
    machine: Mapping[str, Any]
    figures: Mapping[str, Any]
    targets: Sequence[Target]

    def as_dict(self) -> dict[str, Any]:
        return {
            "bench": self.bench,
            "machine": dict(self.machine),
            "figures": {name: rounded(value) for name, value in self.figures.items()},
            "targets": [
                {"name": each.name, "goal": each.goal, "value": rounded(each.value), "met": each.met}
                for each in self.targets
            ],
        }


def rounded(value: Any) -> Any:
    """Floats to four significant digits, lists element by element; everything else as it is."""
    if isinstance(value, list):
        return [rounded(each) for each in value]
    return float(f"{value:.{_DIGITS}g}") if isinstance(value, float) else value


def shown(value: Any) -> str:
    """A figure for people."""
    if isinstance(value, list):
        return "  ".join(shown(each) for each in value)
    return f"{rounded(value):,}" if isinstance(value, (int, float)) else str(value)
