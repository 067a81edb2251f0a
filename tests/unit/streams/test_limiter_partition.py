"""Single promises of the limiter's partition that the model does not spell out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import CATALOGUE, DBError
from streams.limiter.command import SUPPORTED, digest_of
from streams.limiter.items import (
    DAY_MS,
    Counters,
    Held,
    OnlineMark,
    Seen,
    seen_key,
    split_seen_key,
    unpack_counters,
    unpack_held,
    unpack_online,
    unpack_seen,
)
from streams.limiter.limits import Allowance, Facts, Policy, allow, charge
from streams.limiter.state import SEEN_MS
from streams.limiter.store import Store
from streams.limiter.validation import MAX_COMMAND_BYTES, identity_problem, problem_of
from tests.support.limiter import (
    CODEC,
    T0,
    Bench,
    admitted,
    arrival,
    as_avro,
    as_json,
    command,
    results,
    session_event,
    snapshot,
)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path, Policy(queue_commands=1_000))
    bench.instances.known["sales-1"] = Facts(7, "online", "off")
    yield bench
    bench.partition.state.close()


def online(bench: Bench, now_ms: int = T0) -> None:
    bench.partition.session(session_event("sales-1", 7, "online"), now_ms)


def record_of(body: dict[str, Any]) -> dict[str, Any]:
    return CODEC.decode_command(as_json(body))


# -- limits of queues and waits


def test_the_thousand_and_first_command_is_refused_with_a_time(bench: Bench) -> None:
    for n in range(1_001):
        bench.command(arrival(as_json(command(f"c{n}")), n), T0)
    told = results(bench.take())
    assert [r["state"] for r in told[:1_000]] == ["delayed"] * 1_000
    last = told[1_000]
    assert (last["state"], last["final"], last["error"]["code"]) == ("rejected", True, "api.queue_full")
    assert last["retry_at"] > T0
    assert last["error"]["retryable"] is True


def test_a_wait_beyond_a_day_is_refused_with_a_time(bench: Bench) -> None:
    late = T0 + 24 * 3_600_000
    bench.command(arrival(as_json(command("c1", not_before=late + 1)), 0), T0)
    bench.command(arrival(as_json(command("c2", not_before=late - 1)), 1), T0)
    first, second = results(bench.take())
    assert (first["state"], first["retry_at"]) == ("rejected", T0 + 1)
    assert (second["state"], second["until"]) == ("delayed", late - 1)


def test_held_for_a_day_without_an_expiry_ends_as_expired(bench: Bench) -> None:
    bench.command(arrival(as_json(command("c1")), 0), T0)
    bench.partition.tick(T0 + 24 * 3_600_000 - 1)
    assert [r["state"] for r in results(bench.take())] == ["delayed"]
    bench.partition.tick(T0 + 24 * 3_600_000)
    assert [(r["state"], r["error"]["code"]) for r in results(bench.take())] == [("expired", "api.expired")]


def test_many_releases_are_spread_over_calls(bench: Bench) -> None:
    for n in range(900):
        bench.command(arrival(as_json(command(f"c{n}")), n), T0)
    online(bench)
    bench.take()
    counts = []
    for _ in range(3):
        bench.partition.tick(T0)
        counts.append(len(admitted(bench.take())))
    assert counts == [500, 400, 0]


def test_what_needs_no_pace_does_not_overtake_what_does(bench: Bench) -> None:
    bench.instances.known["sales-1"] = Facts(7, "online")
    online(bench)
    for n, kind in enumerate(["send", "send", "typing"]):
        bench.command(arrival(as_json(command(f"c{n}", type_=kind)), n), T0)
    assert [a["command_id"] for a in admitted(bench.take())] == ["c0"]
    bench.partition.tick(T0 + bench.policy.interval_ms)
    assert [a["command_id"] for a in admitted(bench.take())] == ["c1", "c2"]


# -- instance and session


def test_events_of_a_former_generation_mean_nothing(bench: Bench) -> None:
    online(bench)
    bench.partition.session(session_event("sales-1", 6, "offline"), T0)
    assert bench.partition.state.online("sales-1", 7)


def test_online_of_the_new_generation_may_come_before_its_instance(bench: Bench) -> None:
    bench.partition.session(session_event("sales-1", 9, "online"), T0)
    assert not bench.partition.state.online("sales-1", 7)
    bench.instances.known["sales-1"] = Facts(9, "online", "off")
    bench.command(arrival(as_json(command("c1")), 0), T0)
    assert len(admitted(bench.take())) == 1


def test_a_recreated_instance_does_not_get_its_predecessors_commands(bench: Bench) -> None:
    bench.command(arrival(as_json(command("c1")), 0), T0)
    bench.instances.known["sales-1"] = Facts(9, "online", "off")
    bench.partition.instance_changed("sales-1", T0)
    bench.partition.tick(T0)
    assert [r["state"] for r in results(bench.take())] == ["delayed", "cancelled"]


def test_waiting_for_an_instance_survives_a_restart(bench: Bench) -> None:
    """The command belongs to the instance that came, also when the process ends between."""
    bench.instances.known.clear()
    bench.command(arrival(as_json(command("c1")), 0), T0)
    bench.instances.known["sales-1"] = Facts(9, "online", "off")
    bench.partition.instance_changed("sales-1", T0)
    bench.partition.tick(T0)
    bench.take()
    bench.instances.known["sales-1"] = Facts(11, "online", "off")
    bench.restart(1, T0)
    bench.partition.tick(T0)
    assert [r["state"] for r in results(bench.take())] == ["cancelled"]


# -- seen commands


def test_the_same_record_read_again_is_no_duplicate(bench: Bench) -> None:
    online(bench)
    bench.take()
    for _ in range(2):
        bench.command(arrival(as_json(command("c1")), 5), T0)
        assert [r.topic for r in bench.take()] == ["commands.admitted", "results", "limits"]
    bench.command(arrival(as_json(command("c1")), 6), T0)
    assert [r.topic for r in bench.take()] == ["results"]


def test_seen_commands_are_forgotten_by_days_and_only_by_the_time_of_commands(bench: Bench) -> None:
    online(bench)
    bench.command(arrival(as_json(command("old")), 0, T0), T0)
    bench.take()
    end = (T0 // DAY_MS + 1) * DAY_MS + SEEN_MS
    bench.partition.tick(end * 2)
    assert bench.partition.state.seen(digest_of("sales-1", "old")) is not None
    bench.command(arrival(as_json(command("near")), 1, end - 1), end)
    bench.partition.tick(end)
    assert bench.partition.state.seen(digest_of("sales-1", "old")) is not None
    bench.command(arrival(as_json(command("new")), 2, end), end)
    bench.partition.tick(end)
    assert bench.partition.state.seen(digest_of("sales-1", "old")) is None
    assert (seen_key(T0 // DAY_MS, digest_of("sales-1", "old")), None) in [
        (r.key, r.value) for r in bench.take() if r.topic == "limits"
    ]


def test_a_timestamp_of_the_future_forgets_nothing(bench: Bench) -> None:
    bench.command(arrival(as_json(command("old")), 0, T0), T0)
    bench.command(arrival(as_json(command("odd")), 1, T0 * 2), T0)
    bench.partition.tick(T0)
    assert bench.partition.state.seen(digest_of("sales-1", "old")) is not None


def test_commands_at_or_above_the_position_are_forgotten_at_start(bench: Bench) -> None:
    for n in range(3):
        bench.command(arrival(as_json(command(f"c{n}")), n), T0)
    bench.take()
    bench.restart(1, T0)
    state = bench.partition.state
    assert [state.seen(digest_of("sales-1", f"c{n}")) is None for n in range(3)] == [False, True, True]
    assert state.queued("sales-1")[0] == 1
    # What was forgotten is also gone from the topic: another restart finds the same.
    before = snapshot(state)
    bench.take()
    bench.restart(3, T0)
    assert snapshot(bench.partition.state) == before


def test_only_the_commands_own_final_is_stored(bench: Bench) -> None:
    online(bench)
    bench.command(arrival(as_json(command("c1")), 0), T0)
    (own,) = results(bench.take())
    final = {**own, "state": "sent", "final": True, "revision": 103}
    for other in (
        {**final, "result_id": "another"},
        {**final, "final": False},
        {**final, "command_id": "c2"},
    ):
        bench.partition.told(other, CODEC.encode("results", other))
    assert bench.take() == []
    bench.partition.told(final, value := CODEC.encode("results", final))
    seen = bench.partition.state.seen(digest_of("sales-1", "c1"))
    assert seen is not None
    assert (seen.final, seen.revision, seen.result) == (True, 103, value)
    late = {**final, "state": "failed", "revision": 104}
    bench.partition.told(late, CODEC.encode("results", late))
    assert bench.partition.state.seen(digest_of("sales-1", "c1")) == seen


# -- pacing


def test_pace_is_kept_and_a_clock_set_back_stops_nobody() -> None:
    facts, policy = Facts(1, "online"), Policy(interval_ms=200)
    counters = charge(Counters(), allow(facts, Counters(), "send", T0, policy), T0)
    assert allow(facts, counters, "send", T0 + 199, policy) == Allowance(200, T0 + 200)
    assert allow(facts, counters, "send", T0 + 200, policy) == Allowance(200)
    assert allow(facts, counters, "send", T0 - 50_000, policy) == Allowance(200)
    assert allow(facts, counters, "typing", T0, policy) == Allowance(0)
    assert allow(Facts(1, "online", "off"), counters, "send", T0, policy) == Allowance(0)


# -- validation


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (command("c", to=None), "to"),
        (command("c", to="12"), "to"),
        (command("c", content=None), "content"),
        (command("c", content={"type": "text"}), "content.text"),
        (
            command("c", content={"type": "text", "text": "a", "context": {"mentions": ["no one"]}}),
            "content.context.mentions[0]",
        ),
        (
            command(
                "c",
                content={
                    "type": "text",
                    "text": "a",
                    "context": {"quoted": {"key": {"chat": "49151234567", "id": ""}}},
                },
            ),
            "content.context.quoted.key.id",
        ),
        (command("c", lane="unknown"), "lane"),
        (command("c", on_unknown="unknown"), "on_unknown"),
        (command("c", tenant=""), "tenant"),
        (command("c", expires_at=-1), "expires_at"),
        (command("c", type_="group"), "type"),
        (command("c", type_="unknown"), "type"),
        (command("c", type_="edit", to="49151234567", content={"type": "edit", "text": "new"}), "content.target"),
        (command("c", type_="revoke", to="49151234567", content={"type": "revoke"}), "content.target"),
        (
            command("c", type_="react", to="49151234567", content={"target": {"chat": "49151234567", "id": "A"}}),
            "content.reaction",
        ),
        (command("c", type_="read", to="49151234567"), "read"),
        (command("c", type_="read", to="49151234567", read={"message_ids": []}), "read.message_ids"),
        (command("c", type_="typing", presence="available"), "presence"),
        (command("c", type_="presence", presence="composing"), "presence"),
        (command("c", type_="pair", pairing={"method": "code"}), "pairing.phone"),
        (command("c", type_="pair", pairing={"method": "code", "phone": "x"}), "pairing.phone"),
        (command("c", type_="cancel"), "target_command_id"),
        (command("c", type_="cancel", target_command_id="c"), "target_command_id"),
        (command("c", type_="cancel", target_command_id="d", not_before=5), "not_before"),
    ],
)
def test_the_wrong_field_is_named(body: dict[str, Any], field: str) -> None:
    problem = problem_of(record_of(body), 100)
    assert problem is not None
    assert problem.field == field
    assert problem.code in CATALOGUE


@pytest.mark.parametrize(
    "body",
    [
        command("c", to="+49 151 2345678"),
        command("c", to="4915123456789@c.us"),
        command("c", to="120363000000000000@g.us"),
        command(
            "c",
            type_="edit",
            to="49151234567",
            content={"type": "text", "text": "b", "target": {"chat": "49151234567", "id": "A"}},
        ),
        command("c", type_="revoke", to="49151234567", content={"target": {"chat": "49151234567", "id": "A"}}),
        command(
            "c", type_="react", to="49151234567", content={"reaction": "", "target": {"chat": "49151234567", "id": "A"}}
        ),
        command("c", type_="read", to="49151234567", read={"message_ids": ["A", "B"]}),
        command("c", type_="typing", presence="paused"),
        command("c", type_="presence", presence="unavailable"),
        command("c", type_="pair"),
        command("c", type_="pair", pairing={"method": "code", "phone": "+49 151 2345678"}),
        command("c", type_="logout"),
        command("c", type_="cancel", target_command_id="d"),
    ],
)
def test_every_supported_type_passes(body: dict[str, Any]) -> None:
    assert body["type"] in SUPPORTED
    assert problem_of(record_of(body), 100) is None


def test_too_large_is_told_as_such() -> None:
    problem = problem_of(record_of(command("c")), MAX_COMMAND_BYTES + 1)
    assert problem is not None
    assert problem.code == "api.too_large"


@pytest.mark.parametrize("name", ["", "x" * 129, "a\nb", "\u200b"])
def test_names_must_be_printable(name: str) -> None:
    problem = identity_problem(record_of(command(name)))
    assert problem is not None
    assert problem.field == "command_id"


@pytest.mark.parametrize("name", ["", "Sales", "-a", "a" * 64, "a b"])
def test_instances_are_slugs(name: str) -> None:
    problem = identity_problem(record_of(command("c", name)))
    assert problem is not None
    assert problem.field == "instance_id"


@given(
    text=st.text(min_size=1, max_size=50),
    metadata=st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=3),
)
def test_json_and_avro_have_one_hash(text: str, metadata: dict[str, str]) -> None:
    body = command("c", content={"type": "text", "text": text}, metadata=metadata)
    assert arrival(as_json(body), 0).body_hash == arrival(as_avro(body), 1).body_hash


# -- items


hashes = st.binary(min_size=32, max_size=32)
longs = st.integers(0, 2**62)


@given(hashes, longs, longs, st.integers(0, 2**31), st.booleans(), st.binary(max_size=50))
def test_seen_round_trip(body_hash: bytes, offset: int, at: int, revision: int, final: bool, result: bytes) -> None:
    seen = Seen(body_hash, offset, at, revision, final, result)
    assert unpack_seen(seen.pack()) == seen


held_commands = st.builds(
    Held,
    body_hash=hashes,
    offset=longs,
    timestamp_ms=longs,
    due_ms=longs,
    deadline_ms=longs,
    expires_at_ms=st.none() | longs,
    grace_until_ms=longs,
    generation=st.none() | longs,
    size=longs,
)


@given(held_commands, st.binary(max_size=50))
def test_held_round_trip(held: Held, body: bytes) -> None:
    assert unpack_held(held.pack(body)) == (held, body)


@given(st.integers(0, 65_535), st.binary(min_size=16, max_size=16))
def test_seen_key_round_trip(day: int, digest: bytes) -> None:
    assert split_seen_key(seen_key(day, digest)) == (day, digest)


def test_small_items_round_trip() -> None:
    assert unpack_online(OnlineMark(5, True).pack()) == OnlineMark(5, True)
    assert unpack_counters(Counters(17).pack()) == Counters(17)


@pytest.mark.parametrize("value", [b"", b"\x01", b"\x09" + bytes(80)])
def test_unreadable_items_stop_the_start(value: bytes) -> None:
    with pytest.raises(DBError) as caught:
        unpack_seen(value)
    assert caught.value.code == "db.state_corrupt"
    with pytest.raises(DBError):
        unpack_held(value[:3])


def test_an_item_of_an_unknown_kind_stops_the_start(bench: Bench) -> None:
    with pytest.raises(DBError) as caught:
        bench.partition.state.restore(b"z1", b"")
    assert caught.value.code == "db.state_corrupt"


# -- store


def test_store_is_empty_when_it_is_opened_again(tmp_path: Path) -> None:
    path = tmp_path / "p" / "seen.sqlite"
    store = Store(path)
    store.put_seen(b"d" * 16, Seen(b"h" * 32, 0, T0, 1, False, b"r"))
    store.flush()
    again = Store(path)
    assert again.seen(b"d" * 16) is None
    assert again.days() == []
    again.close()
    assert not path.exists()
