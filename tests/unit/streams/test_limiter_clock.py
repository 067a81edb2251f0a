"""Somebody sets the clock, by hours, in either direction: no command is lost, stuck or released in a burst."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.clock import ManualClock
from streams.limiter.limits import Facts, Policy
from tests.support.limiter import T0, Bench, admitted, arrival, as_json, command, results, session_event

HOUR = 3_600_000
POLICY = Policy(interval_ms=200, grace_ms=5_000)
INSTANCE = "sales-1"
GENERATION = 7
FINAL = {"rejected", "expired", "cancelled", "done"}


class Limiter:
    """One partition on a clock that passes in ticks and may be set."""

    def __init__(self, folder: Path) -> None:
        self.clock = ManualClock(T0)
        self.bench = Bench(folder, POLICY)
        self.left: list[tuple[str, float]] = []  # command, monotonic seconds
        self.ended: dict[str, tuple[str, int]] = {}  # command → state, wall clock
        self._offset = 0

    def known(self, *, online: bool) -> None:
        self.bench.instances.known[INSTANCE] = Facts(GENERATION, "online")
        self.bench.partition.instance_changed(INSTANCE, self.clock.now_ms())
        if online:
            self.bench.partition.session(session_event(INSTANCE, GENERATION, "online"), self.clock.now_ms())
        self.look()

    def send(self, command_id: str, **fields: int) -> None:
        value = as_json(command(command_id, INSTANCE, "send", **fields))
        self.bench.command(arrival(value, self._offset, self.clock.now_ms()), self.clock.now_ms())
        self._offset += 1
        self.look()

    def look(self) -> None:
        self.bench.partition.tick(self.clock.now_ms())
        records = self.bench.take()
        self.left += [(each["command_id"], self.clock.monotonic()) for each in admitted(records)]
        for each in results(records):
            if each["state"] in FINAL:
                assert each["command_id"] not in self.ended, "one final only"
                self.ended[each["command_id"]] = (each["state"], self.clock.now_ms())

    def step(self, ms: int) -> None:
        self.clock.step(ms)
        self.look()

    def wait(self, ms: int) -> None:
        for _ in range(ms // 50):
            self.clock.advance(50)
            self.look()

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.left]


@pytest.fixture
def limiter(tmp_path: Path) -> Limiter:
    return Limiter(tmp_path)


@pytest.mark.parametrize("step", [-3 * HOUR, 3 * HOUR])
def test_the_pace_goes_on_as_if_nothing_had_happened(limiter: Limiter, step: int) -> None:
    limiter.known(online=True)
    for number in range(10):
        limiter.send(f"c{number}")
    limiter.step(step)
    limiter.wait(11 * POLICY.interval_ms)
    assert limiter.names == [f"c{number}" for number in range(10)]


@pytest.mark.parametrize("restart", [False, True])
def test_what_was_held_before_the_clock_was_set_back_leaves_when_the_session_comes(
    limiter: Limiter, restart: bool
) -> None:
    limiter.known(online=False)
    limiter.send("c0")
    if restart:
        limiter.clock.step(-5 * HOUR)
        limiter.bench.restart(None, limiter.clock.now_ms())
    else:
        limiter.step(-5 * HOUR)
    limiter.wait(1_000)
    assert limiter.left == []
    limiter.known(online=True)
    limiter.wait(100)
    assert limiter.names == ["c0"]


def test_the_grace_of_an_unknown_instance_is_not_prolonged(limiter: Limiter) -> None:
    limiter.send("c0")
    limiter.step(-5 * HOUR)
    limiter.wait(POLICY.grace_ms + 200)
    assert limiter.ended["c0"][0] == "rejected"


def test_a_time_of_day_keeps_its_meaning(limiter: Limiter) -> None:
    limiter.known(online=True)
    limiter.send("later", not_before=T0 + 60_000)
    limiter.send("short", not_before=T0 + 1_000, expires_at=T0 + 2_000)
    limiter.step(-HOUR)
    limiter.wait(10_000)
    assert limiter.left == []
    assert limiter.ended == {}, "its time has not come yet by this clock"
    limiter.step(HOUR + 60_000)
    limiter.wait(1_000)
    assert limiter.names == ["later"]
    assert limiter.ended["short"][0] == "expired"


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("send"), st.sampled_from([None, HOUR // 60, 30 * HOUR])),
            st.tuples(st.just("step"), st.integers(-6 * HOUR, 6 * HOUR)),
            st.tuples(st.just("wait"), st.integers(50, 2_000)),
            st.tuples(st.just("restart"), st.none()),
        ),
        max_size=25,
    )
)
def test_whatever_the_clock_does(events: list[tuple[str, int | None]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        limiter = Limiter(Path(folder))
        limiter.known(online=True)
        expiry: dict[str, int | None] = {}
        steps: list[float] = []
        for kind, value in events:
            if kind == "send":
                name = f"c{len(expiry)}"
                expiry[name] = None if value is None else limiter.clock.now_ms() + value
                limiter.send(name, **({} if value is None else {"expires_at": limiter.clock.now_ms() + value}))
            elif kind == "step":
                limiter.step(value or 0)
                steps.append(limiter.clock.monotonic())
            elif kind == "wait":
                limiter.wait(value or 0)
            else:
                limiter.bench.restart(None, limiter.clock.now_ms())
                limiter.look()
                steps.append(limiter.clock.monotonic())
        # A step of less than a second prolongs the wait in progress by as much, and no more.
        limiter.wait((len(expiry) + 1) * POLICY.interval_ms + len(steps) * 1_000)
        try:
            assert sorted(limiter.names + list(limiter.ended)) == sorted(expiry), "each leaves or ends, once"
            for name, (state, at_ms) in limiter.ended.items():
                deadline = expiry[name]
                assert state == "expired"
                assert deadline is not None
                assert at_ms >= deadline, "never before its own expiry"
            for (_, former), (_, later) in zip(limiter.left, limiter.left[1:], strict=False):
                stepped = any(former <= at <= later for at in steps)
                assert later - former >= POLICY.interval_ms / 1000 - 1e-6 or stepped, "no burst"
            assert _largest_burst(limiter) <= 2 + len(steps)
        finally:
            limiter.bench.partition.state.close()


def _largest_burst(limiter: Limiter) -> int:
    """How many left within one interval."""
    times = [at for _, at in limiter.left]
    return max((sum(1 for at in times if start <= at < start + 0.2) for start in times), default=0)
