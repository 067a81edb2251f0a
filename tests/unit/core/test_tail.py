"""A tail says what the log says, and knows when it cannot know."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from core.clock import ManualClock
from core.kafka.tail import Instant, Tail

KEYS = [b"a", b"b", b"c", b"d"]
Record = tuple[int, bytes, bytes | None]
logs = st.lists(st.tuples(st.sampled_from(KEYS), st.one_of(st.none(), st.binary(max_size=3))), max_size=40).map(
    lambda entries: [(offset, key, value) for offset, (key, value) in enumerate(entries)]
)


def now(clock: ManualClock) -> Instant:
    return Instant.of(clock)


def fresh() -> Tail:
    return Tail(now(ManualClock()))


def folded(log: list[Record]) -> dict[bytes, bytes]:
    """What a full read of the log gives."""
    state: dict[bytes, bytes] = {}
    for _, key, value in log:
        state.pop(key, None)
        if value is not None:
            state[key] = value
    return state


def compacted(log: list[Record], below: int) -> list[Record]:
    """As Kafka's cleaner leaves it: of each key the newest below that offset, tombstones included."""
    newest = {key: offset for offset, key, _ in log if offset < below}
    return [record for record in log if record[0] >= below or newest[record[1]] == record[0]]


@given(log=logs, data=st.data())
def test_a_tail_and_what_follows_it_give_what_a_full_read_gives(log: list[Record], data: st.DataObject) -> None:
    """However far the tail came, and whatever the cleaner did in the log meanwhile; the order of the items too."""
    tail, end = fresh(), len(log)
    at = 0
    while at < end:
        log_now = compacted(log, data.draw(st.integers(0, end), "cleaned below"))
        upto = data.draw(st.integers(at + 1, end), "read to")
        for offset, key, value in log_now:
            if at <= offset < upto:
                tail.apply(key, value, offset)
        at = upto
        rest = [record for record in log_now if record[0] >= (tail.position or 0)]
        state = folded([(0, key, value) for key, value in tail.values.items()] + rest)
        assert list(state.items()) == list(folded(log).items())
    assert tail.bytes == sum(len(key) + len(value) for key, value in tail.values.items())


def test_records_without_a_key_only_move_the_position() -> None:
    tail = fresh()
    tail.apply(None, b"x", 4)
    assert (tail.values, tail.position) == ({}, 5)


def test_a_tail_is_current_as_of_the_moment_the_end_it_reached_was_asked_for() -> None:
    clock = ManualClock()
    tail = Tail(now(clock))
    tail.apply(b"a", b"1", 0)
    clock.advance(60_000)
    tail.measured(3, now(clock))
    tail.apply(b"a", b"2", 1)
    clock.advance(5_000)
    assert tail.stale(now(clock), 60), "there is a record below that end that it has not read"
    tail.reached(3)
    assert not tail.stale(now(clock), 60)
    clock.advance(55_001)
    assert tail.stale(now(clock), 60)


def test_a_tail_at_some_distance_is_not_stale() -> None:
    """The end moves on with every measurement; it gets to where the end was."""
    clock = ManualClock()
    tail = Tail(now(clock))
    for second in range(200):
        clock.advance(1_000)
        tail.measured(second * 10 + 50, now(clock))
        tail.reached(second * 10)
        assert not tail.stale(now(clock), 20)
        assert tail.lag == 50


def test_an_idle_tail_at_the_end_stays_current() -> None:
    clock = ManualClock()
    tail = Tail(now(clock))
    tail.reached(7)
    for _ in range(10):
        clock.advance(30_000)
        tail.measured(7, now(clock))
        assert not tail.stale(now(clock), 45)


def test_a_machine_that_slept_is_seen_by_the_wall_clock() -> None:
    clock = ManualClock()
    tail = Tail(now(clock))
    clock.step(61_000)
    assert tail.stale(now(clock), 60)


def test_a_log_that_lost_records_or_was_made_anew_is_not_gone_on_with() -> None:
    tail = fresh()
    assert not tail.serves(0, 0), "nothing was read yet"
    tail.reached(10)
    assert tail.serves(0, 10)
    assert tail.serves(10, 12)
    assert not tail.serves(11, 20)
    assert not tail.serves(0, 9)
