"""How far messages came: the machine against a model, its memory over restarts, and what a status event tells."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from connectors.statuses import BLOCK_CELLS, BLOCKS, ITEM, RANKS, STATES, Statuses, step
from tests.support.connector import Rig, finished, message, receipt, started

FACTS = st.sampled_from(STATES)
USERS = st.sampled_from([(), ("1@lid",), ("2@lid", "492@s.whatsapp.net")])
RESTART = "restart"
STEPS = st.lists(st.one_of(st.just(RESTART), st.tuples(st.sampled_from(["A", "B", "C"]), USERS, FACTS)), max_size=60)


@given(st.lists(FACTS, min_size=1))
def test_a_state_never_falls_and_depends_on_the_facts_alone(facts: list[str]) -> None:
    state: str | None = None
    for fact in facts:
        before, state = state, step(state, fact)
        assert before is None or RANKS[state] >= RANKS[before] or (before, state) == ("sending", "failed")
    arrived = [fact for fact in facts if RANKS[fact] >= RANKS["server_ack"]]
    if arrived:
        assert state == max(arrived, key=RANKS.__getitem__), "late or repeated facts change nothing"
    elif "failed" in facts:
        assert state == "failed"


@given(STEPS)
def test_the_memory_behaves_as_the_model_over_restarts(steps: list[str | tuple[str, tuple[str, ...], str]]) -> None:
    """The model: one state per (message, user); without one, that of the message as a whole counts."""
    model: dict[tuple[str, str], str] = {}
    ring = Statuses()
    items: dict[str, bytes] = {}
    for each in steps:
        if isinstance(each, str):
            items |= ring.changes()
            ring = Statuses.restore(items)
            continue
        message_id, user, fact = each
        key = (message_id, user[0] if user else "")
        before = model.get(key, model.get((message_id, "")))
        expected = step(before, fact)
        reduced = ring.look(message_id, user, fact)
        assert (reduced.status, reduced.raised) == (expected, expected != before)
        ring.apply(message_id, user, reduced.status)
        model[key] = expected
    for (message_id, address), state in model.items():
        assert ring.state(message_id, (address,) if address else ()) == state


def test_a_user_is_found_under_either_address() -> None:
    ring = Statuses()
    ring.apply("A", ("492@s.whatsapp.net",), "read")
    assert not ring.look("A", ("2@lid", "492@s.whatsapp.net"), "delivered").raised


def test_the_memory_is_bounded_and_keeps_the_newest() -> None:
    ring = Statuses()
    items: dict[str, bytes] = {}
    capacity = BLOCK_CELLS * BLOCKS
    for number in range(capacity * 2 + 5):
        ring.apply(f"M{number}", (), "server_ack", sent_at_ms=number * 1_000 + 1_000)
        if number % 100 == 0:
            items |= ring.changes()
    items |= ring.changes()
    assert set(items) == {f"{ITEM}{number}" for number in range(BLOCKS)}
    assert max(len(value) for value in items.values()) <= 9 + BLOCK_CELLS * 13
    for known in (ring, Statuses.restore(items)):
        newest, oldest = capacity * 2 + 4, capacity + 5 + BLOCK_CELLS
        for number in (newest, oldest):
            assert known.sent_at_ms(f"M{number}") == number * 1_000 + 1_000
        assert known.state("M0") is None
    again = Statuses.restore(items)
    again.apply("next", (), "server_ack")
    ring.apply("next", (), "server_ack")
    assert again.changes() == ring.changes(), "it goes on where it was"


def _facts(rig: Rig) -> list[tuple[str, str, bool]]:
    events = rig.decoded("events.status")
    return [(each["wire_type"] or each["status"], each["user_status"], each["raised"]) for each in events]


def test_a_status_event_tells_the_fact_and_the_user() -> None:
    rig = Rig()
    rig.instance()
    rig.online()
    rig.turn(rig.text("c1"))
    rig.settle()
    message_id = rig.driver.sent[0].message_id
    rig.driver.entry(started("c1", message_id))
    rig.driver.entry(finished("c1", chat="88@lid"))
    rig.settle()
    rig.driver.entry(receipt(message_id, "", device=1))
    rig.driver.entry(receipt(message_id, "read", device=0))
    rig.settle()
    rig.start()
    rig.settle()
    for late in (receipt(message_id, "", device=2), receipt(message_id, "inactive", device=3)):
        rig.driver.entry(late)
    own = receipt(message_id, "read-self", device=4)
    own.receipt.from_me = True
    rig.driver.entry(own)
    rig.driver.entry(receipt(message_id, "played", device=0))
    rig.settle()
    assert _facts(rig) == [
        ("server_ack", "server_ack", True),
        ("delivered", "delivered", True),
        ("read", "read", True),
        ("delivered", "read", False),
        ("inactive", "read", False),
        ("read-self", None, False),
        ("played", "played", True),
    ]


def test_a_receipt_overrides_a_failure() -> None:
    rig = Rig()
    rig.instance()
    rig.online()
    rig.turn(rig.text("c1"))
    rig.settle()
    message_id = rig.driver.sent[0].message_id
    rig.driver.entry(started("c1", message_id))
    rig.driver.entry(finished("c1", "REJECTED", error_code=479, error_kind="server"))
    rig.driver.entry(receipt(message_id))
    rig.settle()
    assert _facts(rig) == [("failed", "failed", True), ("delivered", "delivered", True)]


def test_a_repeated_receipt_is_told_once() -> None:
    rig = Rig()
    rig.instance()
    rig.online()
    rig.driver.entry(message("IN"), receipt("X", "read"), receipt("X", "read"))
    rig.settle()
    assert _facts(rig) == [("read", "read", True)]
