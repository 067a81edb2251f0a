"""Times of the transactional loop in seconds, and how much one transaction takes from the inputs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Pace:
    """The defaults are what production uses; tests shorten them."""

    transaction: float = 0.010
    keep_alive: float = 1.5
    tick: float = 0.05
    idle: float = 0.005
    late: float = 5.0
    give_up: float = 20.0
    probe: float = 10.0
    revoke: float = 3.0
    stop: float = 4.0
    retry: float = 0.02
    takeover_slice: float = 0.1
    takeover_retry: float = 0.5
    lag: float = 1.0
    batch: int = 5000
    batch_bytes: int = 16 << 20
