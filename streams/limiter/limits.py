"""The limits of an instance: the one place that says how fast its commands may leave.

`allow` looks, `charge` counts; both are pure over `Counters`, an item of `wa.limits` written in the transaction of the
decision. Today there is one limit, the distance between two paced commands of an instance; rates per minute, hour and
day, first contacts and blocks become further fields of `Counters`, looked at in `allow` and counted in `charge`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, Literal, TypeAlias

from streams.limiter.command import PACED
from streams.limiter.items import Counters

Mode: TypeAlias = Literal["default", "off", "custom"]

# The one override that means something so far.
INTERVAL: Final = "interval_ms"


@dataclass(frozen=True, slots=True)
class Policy:
    """The limiter's own settings. `interval_ms` is the default pacing; the rest bounds every queue."""

    interval_ms: int = 200
    grace_ms: int = 5_000
    longest_wait_ms: int = 24 * 3_600_000
    queue_commands: int = 1_000
    queue_bytes: int = 8 * 1024 * 1024
    retry_after_ms: int = 60_000


@dataclass(frozen=True, slots=True)
class Facts:
    """What `wa.instances` says of an instance, as far as it matters here."""

    generation: int
    desired: str
    mode: Mode = "default"
    interval_ms: int | None = None

    @property
    def deleted(self) -> bool:
        return self.desired == "deleted"


@dataclass(frozen=True, slots=True)
class Allowance:
    """`wait_until_ms` None: it may go now, and the connector keeps `interval_ms` at the wire."""

    interval_ms: int
    wait_until_ms: int | None = None


def interval_of(facts: Facts, policy: Policy) -> int:
    """Least distance between two paced commands of the instance."""
    if facts.mode == "off":
        return 0
    if facts.mode == "custom" and facts.interval_ms is not None:
        return facts.interval_ms
    return policy.interval_ms


def allow(facts: Facts, counters: Counters, command_type: str, now_ms: int, policy: Policy) -> Allowance:
    """May a command of this type leave now?"""
    if command_type not in PACED:
        return Allowance(0)
    interval = interval_of(facts, policy)
    # A last send in the future means that the clock was set back: that must not stop the instance.
    if counters.paced_at_ms <= now_ms < counters.paced_at_ms + interval:
        return Allowance(interval, counters.paced_at_ms + interval)
    return Allowance(interval)


def charge(counters: Counters, allowance: Allowance, now_ms: int) -> Counters:
    """The counters after a command left now; the same object when nothing is counted."""
    if not allowance.interval_ms:
        return counters
    return replace(counters, paced_at_ms=now_ms)
