"""Which fault comes when, on what, for how long: pure, and the same for the same seed.

A step names its target by a number, not by a process: which connectors there are, and who owns what, is known only at
its time.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

# Faults and how often they come in the mix. A fault is a method of compose.chaos.faults of the same name.
MIX: dict[str, int] = {
    "kill_connector": 24,
    "drain_connector": 4,
    "kill_host": 14,
    "kill_limiter": 14,
    "kill_registrar": 8,
    "kill_registry": 2,
    "kill_sink": 8,
    "kill_clickhouse": 4,
    "kill_broker": 4,
    "kill_all": 2,
    "crash_point": 14,
    "sink_point": 5,
    "pause_point": 5,
    "stale_commit": 2,
    "clock_jump": 4,
    "pause_connector": 5,
    "pause_process": 5,
    "restart_broker": 2,
    "cut_machine": 3,
    "cut_kafka": 5,
    "cut_whatsapp": 6,
    "storm": 3,
    "lose_machine": 2,
    "deliveries": 10,
    "acks": 6,
    "kick": 6,
    "lose_offsets": 1,
}
# Alone only: it needs a file system of its own.
ALONE: dict[str, int] = {"disk_full": 1}

# Each fault of the mix once, in a random order.
TOUR = "tour"
EXPERIMENTS: dict[str, Mapping[str, int]] = {
    "mix": MIX,
    TOUR: MIX,
    "kills": {name: weight for name, weight in MIX.items() if name.startswith("kill_")},
    **{name.replace("_", "-"): {name: 1} for name in (*MIX, *ALONE)},
}

# Seconds a fault lasts, where it lasts: (least, most, most in runs of half an hour and longer). Just once: the least.
LASTS: dict[str, tuple[float, float, float]] = {
    "pause_connector": (1.0, 20.0, 60.0),
    "pause_point": (1.0, 12.0, 20.0),
    # Longer than the goal for a lost machine, shorter than a connector's transaction may be open.
    "stale_commit": (11.0, 16.0, 18.0),
    "pause_process": (1.0, 12.0, 30.0),
    # Longer than a connector's session time-out.
    "cut_machine": (7.0, 15.0, 15.0),
    "cut_kafka": (1.0, 12.0, 30.0),
    "cut_whatsapp": (0.5, 8.0, 30.0),
    "storm": (5.0, 15.0, 40.0),
    "deliveries": (0.5, 5.0, 5.0),
    "acks": (1.0, 14.0, 20.0),
    "disk_full": (3.0, 10.0, 30.0),
}
LONG_MINUTES = 30.0
PAUSE_S = (0.2, 2.0)
# So often the next fault comes while the last one is not over yet.
OVERLAP = 0.2


@dataclass(frozen=True, slots=True)
class Step:
    """`target` picks one of those that there are; `luck` is what the fault itself may choose by."""

    number: int
    fault: str
    pause_s: float
    lasts_s: float
    target: int
    overlaps: bool
    luck: random.Random = field(compare=False, repr=False)


def steps(seed: int, name: str, minutes: float) -> Iterator[Step]:
    """Of an experiment; without end, but for the tour. A step's luck depends on the seed and its number only."""
    rng = random.Random(seed)
    for number, fault in enumerate(_names(rng, name), 1):
        least, usual, most = LASTS.get(fault, (0.0, 0.0, 0.0))
        longest = least if name == TOUR else most if minutes >= LONG_MINUTES else usual
        yield Step(
            number=number,
            fault=fault,
            pause_s=rng.uniform(*PAUSE_S),
            lasts_s=rng.uniform(least, longest),
            target=rng.randrange(1 << 30),
            overlaps=rng.random() < OVERLAP,
            luck=random.Random(f"{seed}/{number}"),
        )


def _names(rng: random.Random, name: str) -> Iterator[str]:
    weights = EXPERIMENTS[name]
    names, chances = list(weights), list(weights.values())
    if name == TOUR:
        yield from rng.sample(names, len(names))
        return
    while True:
        yield rng.choices(names, chances)[0]
