"""How long instances were away, by what took them away. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from compose.bench.stats import quantile
from compose.chaos.tail import Online, Owned


@dataclass(frozen=True, slots=True)
class Away:
    """Instances that went at a moment; the next fault may have hit them again from `until` on."""

    at: float
    until: float
    instances: Sequence[str]


def returns(away: Sequence[Away], online_after: Callable[[str, float], Online | None]) -> list[float]:
    """Seconds until each was online again; those that the next fault kept from it are left out."""
    out = []
    for each in away:
        for instance in each.instances:
            online = online_after(instance, each.at)
            if online is not None and online.at < each.until:
                out.append(online.at - each.at)
    return out


def moves(
    owned: Sequence[Owned],
    members: Mapping[int, Sequence[str]],
    online_after: Callable[[str, float], Online | None],
    spans: Sequence[tuple[float, float]],
    longest_s: float,
) -> list[float]:
    """Seconds from a slot's release of a partition until its instances were online with another one.

    `members`: partition → instances. Only what is released and claimed within one of `spans` counts: at other times a slot
    that died right after its release, or before its claim, is waited for, which is no move. Nor is one that nobody follows
    up within `longest_s`.
    """

    def is_within(*marks: Owned) -> bool:
        return any(all(begin <= mark.at <= end for mark in marks) for begin, end in spans)

    out = []
    released: dict[int, Owned] = {}
    for mark in owned:
        partition, before = mark.claim.partition, released.pop(mark.claim.partition, None)
        if mark.claim.kind == "release":
            released[partition] = mark
        elif before is not None and before.claim.slot != mark.claim.slot and is_within(before, mark):
            back = [online_after(instance, mark.at) for instance in members.get(partition, ())]
            seconds = [online.at - before.at for online in back if online is not None]
            out += [each for each in seconds if each < longest_s]
    return out


def figures(name: str, samples: Sequence[float]) -> dict[str, object]:
    """`NAME_p50_s` and so on, None without samples."""
    return {
        f"{name}_count": len(samples),
        f"{name}_p50_s": quantile(samples, 0.5) if samples else None,
        f"{name}_p99_s": quantile(samples, 0.99) if samples else None,
        f"{name}_worst_s": max(samples) if samples else None,
    }
