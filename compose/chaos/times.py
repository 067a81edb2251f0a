"""How long instances were away, by what took them away. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from compose.bench.stats import quantile
from compose.chaos.seen import Online, Owned, Seen


@dataclass(frozen=True, slots=True)
class Away:
    """Instances that went at a moment; the next fault may have hit them again from `until` on."""

    at: float
    until: float
    instances: Sequence[str]


@dataclass(frozen=True, slots=True)
class Sample:
    """It took so long; or at least so long, where the next fault came first."""

    seconds: float
    cut_short: bool = False


def returns(away: Sequence[Away], online_after: Callable[[str, float], Online | None]) -> list[Sample]:
    """How long each was away; what the next fault came into lasted at least until then."""
    out = []
    for each in away:
        for instance in each.instances:
            online = online_after(instance, each.at)
            if online is not None and online.at < each.until:
                out.append(Sample(online.at - each.at))
            else:
                out.append(Sample(each.until - each.at, cut_short=True))
    return out


def still_away(
    seen: Seen, instances: Iterable[str], heard_since: float, closed: Mapping[str, float], late_s: float
) -> list[str]:
    """Who was not heard of since then, or has not come online since its session was closed (`closed`: at which time).

    What was committed before a fault may be seen `late_s` later.
    """
    return sorted(
        instance
        for instance in instances
        if seen.last(instance) < heard_since + late_s
        or (instance in closed and seen.online_after(instance, closed[instance]) is None)
    )


def moves(
    owned: Sequence[Owned],
    members: Mapping[int, Sequence[str]],
    online_after: Callable[[str, float], Online | None],
    spans: Sequence[tuple[float, float]],
    longest_s: float,
) -> list[Sample]:
    """From a slot's release of a partition until its instances were online with another one.

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
            out += [Sample(each) for each in seconds if each < longest_s]
    return out


def figures(name: str, samples: Sequence[Sample]) -> dict[str, object]:
    """`NAME_p50_s` and so on, None without samples.

    `NAME_lower_bounds` names those that one of the samples that were cut short might push up, had it been left alone.
    """
    seconds = [each.seconds for each in samples]
    cut = [each.seconds for each in samples if each.cut_short]
    told = {
        f"{name}_p50_s": quantile(seconds, 0.5) if seconds else None,
        f"{name}_p99_s": quantile(seconds, 0.99) if seconds else None,
        f"{name}_worst_s": max(seconds) if seconds else None,
    }
    return {
        f"{name}_count": len(samples),
        f"{name}_cut_short": len(cut),
        **told,
        f"{name}_lower_bounds": [key for key, value in told.items() if value is not None and cut and min(cut) <= value],
    }
