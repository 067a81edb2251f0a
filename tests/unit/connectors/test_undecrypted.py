"""Undecryptable messages: each is followed up or told as missing, once, whatever restarts there are; and no state is mute."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors import advice, undecrypted
from connectors.health import _STATES
from connectors.status import Status
from connectors.undecrypted import MOST, Key, Undecrypted
from core.settings import SupervisionSettings

WAIT = 100
steps = st.lists(
    st.tuples(st.sampled_from(["add", "came", "look", "restart"]), st.integers(0, 9), st.integers(0, 60)), max_size=60
)


def key(number: int) -> Key:
    return ("77@lid", "77@lid", f"M{number}")


@given(steps)
def test_each_is_made_good_or_told_missing_once(todo: list[tuple[str, int, int]]) -> None:
    it, now = Undecrypted(), 0
    open_since: dict[Key, int] = {}
    told: set[Key] = set()
    total = 0
    for what, number, passed in todo:
        now += passed
        which = key(number)
        if what == "add":
            total += 1
            if which not in open_since:
                open_since[which] = now
                told.discard(which)
            it.add(which, f"event-{number}", now + WAIT)
        elif what == "came":
            assert it.came(which) == (f"event-{number}" if which in open_since else None)
            open_since.pop(which, None)
        elif what == "look":
            late = {each for each, since in open_since.items() if now - since >= WAIT} - told
            assert set(it.overdue(now)) == late
            told |= late
        else:
            it = Undecrypted.restore(it.value())
        assert len(it) == len([each for each in open_since if each not in told])
        assert it.total == total
    due = [since + WAIT for each, since in open_since.items() if each not in told]
    assert it.wake_at() == min(due, default=None)


def test_the_oldest_is_given_up_when_there_are_too_many() -> None:
    it = Undecrypted()
    for number in range(MOST + 3):
        it.add(key(number), f"event-{number}", 10_000)
    assert it.overdue(0) == [key(0), key(1), key(2)]
    assert len(it) == MOST
    assert it.came(key(0)) is None
    assert it.came(key(3)) == "event-3"


def test_changes_are_told_once() -> None:
    it = Undecrypted()
    assert it.changes() == {}
    it.add(key(1), "event-1", 5)
    assert list(it.changes()) == [undecrypted.ITEM]
    assert it.changes() == {}


IN_ORDER = {"created", "pairing", "paired", "connecting", "online", "stopped"}


@pytest.mark.parametrize("state", _STATES)
def test_every_state_that_is_not_in_order_says_what_to_do(state: str) -> None:
    told = advice.explain(Status(state, "a reason", 1, until_ms=1_700_000_000_000))
    assert (told is None) == (state in IN_ORDER)
    if told is not None:
        assert told.words
        assert told.next_step


def test_a_status_survives_its_item() -> None:
    status = Status("online", None, 5, 6, 7, None, {"jid": "77@lid"}, False, 401, ("replaced", 9), ("timelock", None))
    assert Status.restore(status.value()) == status
    # As it was written before there were these fields.
    assert Status.restore(b'["online",null,5,6,7,null,null,false]') == Status("online", None, 5, 6, 7)


@pytest.mark.parametrize("wrong", [{"silence_ms": 30_000}, {"keepalive_max_ms": 20_000}, {"parallel_starts": 0}])
def test_times_that_would_kill_a_quiet_connection_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"keepalive|parallel"):
        SupervisionSettings(**wrong)
