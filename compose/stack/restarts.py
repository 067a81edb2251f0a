"""When a dead component is started again: at once the first time, then with growing pauses; health starts it anew."""

from __future__ import annotations

from dataclasses import dataclass

FIRST_PAUSE = 0.5
LONGEST_PAUSE = 30.0
HEALTHY_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Restarts:
    """`deaths` in a row, that is without a minute of health between them; no pause is longer than `longest`."""

    deaths: int = 0
    longest: float = LONGEST_PAUSE

    def after_death(self, seconds_ready: float) -> tuple[Restarts, float]:
        """The count from here on, and the pause before the next start."""
        before = 0 if seconds_ready >= HEALTHY_SECONDS else self.deaths
        return Restarts(before + 1, self.longest), min(self.longest, pause(before))


def pause(deaths: int) -> float:
    """Seconds to wait after that many earlier deaths in a row."""
    # The exponent is bounded so that a component that dies for weeks does not overflow a float.
    return 0.0 if deaths == 0 else min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(deaths - 1, 16))
