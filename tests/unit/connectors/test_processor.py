"""The connector's promises on a scripted driver: what is committed, in which order effects happen, what a restart finds."""

from __future__ import annotations

from typing import Any

import pytest

from connectors.drivers.whatsmeow import host_pb2 as pb
from connectors.sends import DAY_MS
from core.security.keyring import Keyring
from tests.support.connector import (
    INSTANCE,
    PARTITION,
    Rig,
    finished,
    message,
    receipt,
    started,
    state,
)


@pytest.fixture
def rig() -> Rig:
    made = Rig()
    made.instance()
    return made


@pytest.fixture
def online(rig: Rig) -> Rig:
    rig.online()
    return rig


def test_the_epoch_is_committed_before_the_session_is_opened(rig: Rig) -> None:
    rig.turn(commit=False)
    assert rig.driver.opened == []
    rig.start()
    rig.turn()
    ((start, items),) = rig.driver.opened
    assert (start.instance_id, start.simulated, items) == (INSTANCE, True, {})


def test_an_entry_is_durable_only_after_its_commit(online: Rig) -> None:
    before = list(online.driver.durables)
    online.driver.entry(message("M1"), changes=[("session/88", b"ratchet")])
    online.turn(commit=False)
    assert online.driver.durables == before
    online.processor.committed((PARTITION,))
    assert online.driver.durables == [*before, (online.driver.session, 3)]


def test_a_message_becomes_an_event_with_numbers_in_order(online: Rig) -> None:
    online.driver.entry(message("M1", "one"), message("M2", "two"))
    online.turn()
    first, second = online.decoded("events.message")
    assert (first["content"]["text"], second["content"]["text"]) == ("one", "two")
    assert second["envelope"]["seq"] == first["envelope"]["seq"] + 1
    assert first["envelope"]["simulated"] is True
    assert (first["direction"], first["key"]["id"], first["sender"]["pn"]) == (
        "in",
        "M1",
        "491511234567@s.whatsapp.net",
    )


def test_the_same_message_under_new_ciphertext_is_dropped_but_its_ratchet_step_is_committed(online: Rig) -> None:
    online.driver.entry(message("M1"), changes=[("session/88", b"one")])
    online.turn()
    online.driver.entry(message("M1"), changes=[("session/88", b"two")])
    produced = online.turn()
    assert len(online.decoded("events.message")) == 1
    assert [record.topic for record in produced] == ["sessions"]


def test_duplicates_are_known_after_a_restart(online: Rig) -> None:
    online.driver.entry(receipt("X", "read"), message("M1"))
    online.turn()
    online.start()
    online.online()
    online.driver.entry(receipt("X", "read"), message("M1"), message("M2"))
    online.turn()
    assert [each["key"]["id"] for each in online.decoded("events.message")] == ["M1", "M2"]
    assert len(online.decoded("events.status")) == 1


def test_the_real_message_after_an_undecryptable_one_passes(online: Rig) -> None:
    key = pb.MessageKey(chat="88@lid", sender="88@lid", id="M1")
    online.driver.entry(pb.Event(undecryptable=pb.Undecryptable(key=key, reason="decrypt_failed")))
    online.driver.entry(message("M1"))
    online.turn()
    assert [each["kind"] for each in online.decoded("events.message")] == ["message.undecryptable", "message.new"]


def test_a_session_is_restored_from_what_was_committed_and_under_a_new_epoch(online: Rig) -> None:
    online.driver.entry(message("M1"), changes=[("session/88", b"ratchet"), ("device", b"newer")])
    online.turn()
    online.driver.entry(message("M2"), changes=[("session/88", b"uncommitted")])
    online.turn(commit=False)
    online.start()
    online.settle()
    assert online.driver.opened[0][1] == {"device": b"newer", "session/88": b"ratchet"}
    online.driver.entry(message("M2"))
    online.turn()
    assert online.decoded("events.message")[-1]["envelope"]["session_epoch"] == 2


def test_turns_while_a_partition_is_taken_over_leave_its_sessions_alone(online: Rig) -> None:
    online.driver.entry(message("M1"), changes=[("session/88", b"ratchet")])
    online.turn()
    before = online.states()
    online.start(turns_before=3)
    online.settle()
    assert online.states() == before, "it is not told to be new"
    assert online.driver.opened[0][1] == {"device": b"keys", "session/88": b"ratchet"}
    online.driver.entry(message("M2"))
    online.turn()
    assert online.decoded("events.message")[-1]["envelope"]["session_epoch"] == 2


def test_a_closed_session_is_read_again_and_opened_with_a_wait(online: Rig) -> None:
    online.driver.entry(message("M1"), changes=[("session/88", b"ratchet")])
    online.driver.gone()
    online.settle()
    assert len(online.driver.opened) == 1
    assert online.states()[-1] == "offline"
    online.clock.advance(1_000)
    online.settle()
    assert online.driver.opened[1][1] == {"device": b"keys", "session/88": b"ratchet"}
    assert online.driver.forgotten == [1]


def test_what_a_dead_host_had_not_committed_is_dropped(online: Rig) -> None:
    online.driver.entry(message("M1"))
    online.driver.lost()
    online.settle()
    assert online.decoded("events.message") == []
    online.clock.advance(1_000)
    online.settle()
    assert len(online.driver.opened) == 2


def test_a_gap_in_the_journal_rebuilds_the_session(online: Rig) -> None:
    online.driver.entry(message("M1"), position=9)
    online.driver.entry(message("M2"), position=10)
    online.settle()
    assert online.decoded("events.message") == []
    assert online.driver.closed == [(1, "journal broken")]


def test_replaced_is_not_reopened_until_the_instance_changes(online: Rig) -> None:
    online.driver.entry(state("REPLACED", reason="conflict"))
    online.driver.gone("replaced", may_reopen=False)
    online.settle()
    online.clock.advance(DAY_MS)
    online.settle()
    online.start()
    online.settle()
    assert online.driver.opened == []
    online.instance(version=2)
    online.settle()
    assert len(online.driver.opened) == 1


def test_stopping_and_starting_again(online: Rig) -> None:
    online.instance("stopped", version=2)
    online.settle()
    assert online.driver.closed == [(1, "stopped")]
    online.driver.gone("requested")
    online.settle()
    online.clock.advance(5_000)
    online.settle()
    assert online.states()[-1] == "stopped"
    assert len(online.driver.opened) == 1
    online.instance("online", version=3)
    online.settle()
    assert online.driver.opened[1][1] == {"device": b"keys"}


# ---------------------------------------------------------------------- sends


def test_a_command_reaches_the_host_only_after_queued_is_committed(online: Rig) -> None:
    online.turn(online.text("c1"), commit=False)
    assert online.driver.sent == []
    online.processor.committed((PARTITION,))
    assert [each.command_id for each in online.driver.sent] == ["c1"]
    assert online.driver.sent[0].to == "491511234567@s.whatsapp.net"
    assert online.driver.sent[0].content.text == "hello"


def test_a_send_from_queued_to_sent(online: Rig) -> None:
    online.turn(online.text("c1", metadata={"ticket": "7"}))
    sent = online.driver.sent[0]
    online.driver.entry(started("c1", sent.message_id), changes=[(f"x/{sent.message_id}", b"stanza")])
    online.turn()
    online.driver.entry(finished("c1"))
    online.turn()
    assert online.results("c1") == ["queued", "sending", "sent"]
    results = online.decoded("results")
    assert [each["final"] for each in results] == [False, False, True]
    assert [each["revision"] for each in results] == [101, 102, 103]
    assert len({each["result_id"] for each in results}) == 1
    assert {each["session_epoch"] for each in results} == {1}
    (event,) = online.decoded("events.message")
    assert (event["direction"], event["command_id"], event["metadata"]) == ("out", "c1", {"ticket": "7"})
    assert (event["key"]["id"], event["key"]["chat"], event["content"]["text"]) == (sent.message_id, "88@lid", "hello")
    assert event["chat"]["pn"] == "491511234567@s.whatsapp.net"
    (status,) = online.decoded("events.status")
    assert (status["status"], status["rank"], status["command_id"]) == ("server_ack", 2, "c1")


def test_commands_that_have_ended_leave_nothing_behind(online: Rig) -> None:
    """Each has a deadline a day ahead: nothing may wait for that once it has ended."""
    for number in range(600):
        online.turn(online.text(f"c{number}", interval_ms=100))
        online.clock.advance(200)
        online.turn()
        online.driver.entry(started(f"c{number}", online.driver.sent[-1].message_id))
        online.turn()
        online.driver.entry(finished(f"c{number}"))
        online.turn()
    assert online.results("c599") == ["queued", "sending", "sent"]
    (session,) = online.processor.sessions()
    # Two minutes have passed, and timers are a minute ahead at most.
    assert len(online.processor._timers) < 400
    assert len(session.queue._deadlines) < 40


def test_an_interrupted_send_goes_out_again_as_it_was_before_anything_newer(online: Rig) -> None:
    online.turn(online.text("c1"), online.text("c2"), online.text("c3", to="4917000"))
    sent = online.driver.sent[0]
    online.driver.entry(started("c1", sent.message_id))
    online.turn()
    online.start()
    online.online()
    assert [(each.command_id, each.resume) for each in online.driver.sent] == [("c1", True), ("c3", False)]
    assert online.driver.sent[0].message_id == sent.message_id
    online.driver.entry(finished("c1"))
    online.turn()
    assert [each.command_id for each in online.driver.sent] == ["c1", "c3", "c2"]


def test_without_an_ack_the_chat_waits_and_the_session_goes_on(online: Rig) -> None:
    online.turn(online.text("c1"), online.text("c2"), online.text("c3", to="4917000"))
    online.driver.entry(started("c1", online.driver.sent[0].message_id))
    online.driver.entry(finished("c1", "NO_ACK"))
    online.turn()
    assert online.results("c1") == ["queued", "sending", "unsettled"]
    online.driver.entry(started("c3", online.driver.sent[1].message_id, chat="99@lid"))
    online.driver.entry(finished("c3"))
    online.turn()
    assert online.results("c3") == ["queued", "sending", "sent"]
    assert [each.command_id for each in online.driver.sent] == ["c1", "c3"]
    online.clock.advance(11_000)
    online.turn()
    assert [(each.command_id, each.resume) for each in online.driver.sent[2:]] == [("c1", True)]


@pytest.mark.parametrize("wire_type", ["", "read", "sender"])
def test_a_receipt_settles_a_send_without_an_ack(online: Rig, wire_type: str) -> None:
    online.turn(online.text("c1"), online.text("c2"))
    message_id = online.driver.sent[0].message_id
    online.driver.entry(started("c1", message_id))
    online.driver.entry(finished("c1", "NO_ACK"))
    online.driver.entry(receipt(message_id, wire_type))
    online.turn()
    assert online.results("c1") == ["queued", "sending", "unsettled", "sent"]
    assert [each.command_id for each in online.driver.sent] == ["c1", "c2"]


def test_hold_sends_nothing_again_and_ends_as_unknown(online: Rig) -> None:
    online.turn(online.text("c1", on_unknown="hold"))
    online.driver.entry(started("c1", online.driver.sent[0].message_id))
    online.turn()
    online.start()
    online.online()
    assert online.results("c1") == ["queued", "sending", "unsettled"]
    online.clock.advance(DAY_MS // 2)
    online.turn()
    assert online.driver.sent == []
    online.clock.advance(DAY_MS // 2 + 1)
    online.turn()
    assert online.driver.sent == []
    assert online.results("c1")[-1] == "unknown"


def test_a_receipt_after_unknown_is_a_status_and_no_second_result(online: Rig) -> None:
    online.turn(online.text("c1"))
    message_id = online.driver.sent[0].message_id
    online.driver.entry(started("c1", message_id))
    online.driver.entry(finished("c1", "NO_ACK"))
    online.turn()
    online.clock.advance(DAY_MS + 20_000)
    online.turn()
    online.driver.entry(receipt(message_id))
    online.turn()
    assert online.results("c1").count("unknown") == 1
    assert [each["final"] for each in online.decoded("results")].count(True) == 1
    assert online.decoded("events.status")[-1]["status"] == "delivered"


def test_a_refusal_carries_the_catalogue_code(online: Rig) -> None:
    online.turn(online.text("c1"))
    online.driver.entry(started("c1", online.driver.sent[0].message_id))
    online.driver.entry(finished("c1", "REJECTED", error_code=463, error="reach-out lock"))
    online.turn()
    last = online.decoded("results")[-1]
    assert (last["state"], last["error"]["code"], last["error"]["upstream_code"]) == (
        "failed",
        "wa.reachout_locked",
        "463",
    )


def test_what_did_not_leave_is_tried_again(online: Rig) -> None:
    online.turn(online.text("c1"))
    online.driver.entry(finished("c1", "NOT_SENT"))
    online.turn()
    assert len(online.driver.sent) == 1
    online.clock.advance(600)
    online.turn()
    assert [(each.command_id, each.resume) for each in online.driver.sent] == [("c1", False), ("c1", False)]
    assert online.results("c1") == ["queued"]


def test_cancel_in_time_and_too_late(online: Rig) -> None:
    online.turn(online.text("c1"), online.text("c2"))
    online.turn(
        online.command("cancel", "x1", target_command_id="c1"),
        online.command("cancel", "x2", target_command_id="c2"),
        online.command("cancel", "x3", target_command_id="nobody"),
    )
    assert online.results("c1") == ["queued"]
    assert (online.results("x1"), online.results("x2"), online.results("x3")) == (["rejected"], ["done"], ["rejected"])
    assert online.results("c2") == ["queued", "cancelled"]


def test_expiry_while_queued(rig: Rig) -> None:
    rig.settle()
    rig.turn(rig.text("c1", expires_at=rig.clock.now_ms() + 1_000))
    rig.clock.advance(1_001)
    rig.turn()
    assert rig.results("c1") == ["queued", "expired"]


def test_pace_of_the_decision_at_the_wire(online: Rig) -> None:
    online.turn(*(online.text(f"c{n}", to=f"491700{n}", interval_ms=3_000) for n in range(3)))
    assert len(online.driver.sent) == 1
    online.clock.advance(2_999)
    online.turn()
    assert len(online.driver.sent) == 1
    online.clock.advance(1)
    online.turn()
    assert len(online.driver.sent) == 2


@pytest.mark.parametrize(
    ("kind", "fields", "field"),
    [
        ("send", {"to": "abc", "content": {"type": "text", "text": "x"}}, "to"),
        ("send", {"to": "49151123456", "content": {"type": "image"}}, "content.type"),
        ("send", {"to": "49151123456"}, "content.type"),
        ("vote", {"to": "49151123456"}, "type"),
        ("react", {"to": "49151123456", "content": {"type": "reaction", "reaction": "x"}}, "content.target"),
    ],
)
def test_what_can_never_be_done_is_rejected(online: Rig, kind: str, fields: dict[str, Any], field: str) -> None:
    online.turn(online.command(kind, "c1", **fields))
    (result,) = online.decoded("results")
    assert (result["state"], result["error"]["code"], result["error"]["field"]) == ("rejected", "api.validation", field)


def test_poison_becomes_a_dead_letter_and_the_position_moves(online: Rig) -> None:
    online.turn(online.record(b"nonsense"))
    (dead,) = online.decoded("deadletter")
    assert (dead["origin_topic"], dead["value"], online.position) == ("commands.admitted", b"nonsense", 1)


# ---------------------------------------------------------------------- pairing, logout, delete


def test_pairing_by_a_command(rig: Rig) -> None:
    rig.settle()
    rig.driver.entry(state("UNPAIRED"))
    rig.turn()
    rig.turn(rig.command("pair", "p1", pairing={"method": "qr"}))
    assert rig.driver.paired == [(1, "p1", "")]
    rig.driver.entry(
        state("PAIRING"),
        pb.Event(
            pairing_code=pb.PairingCode(qr_codes=["qr-1", "qr-2"], expires_at_ms=5, index=1, total=6, command_id="p1")
        ),
    )
    rig.turn()
    (code,) = rig.decoded("pairing")
    assert (code["qr"], code["index"], code["total"], code["command_id"]) == ("qr-1", 1, 6, "p1")
    rig.driver.entry(state("PAIRED", command_id="p1"))
    rig.turn()
    assert rig.results("p1") == ["queued", "done"]


def test_a_newer_pair_command_takes_the_place_of_the_older(rig: Rig) -> None:
    rig.settle()
    rig.driver.entry(state("UNPAIRED"))
    rig.turn()
    rig.turn(rig.command("pair", "p1"))
    rig.turn(rig.command("pair", "p2", pairing={"method": "code", "phone": "+49 151 1234567"}))
    assert rig.driver.paired == [(1, "p1", ""), (1, "p2", "491511234567")]
    rig.driver.entry(state("PAIR_FAILED", command_id="p2", reason="timeout"))
    rig.turn()
    assert (rig.results("p1"), rig.results("p2")) == (["queued", "failed"], ["queued", "failed"])


def test_logout_ends_the_queue_and_archives_the_device(online: Rig) -> None:
    online.driver.entry(message("M1"), changes=[("session/88", b"ratchet")])
    online.turn(online.text("c1"), online.text("c2"), online.command("logout", "l1"))
    online.driver.entry(started("c1", online.driver.sent[0].message_id))
    online.turn()
    online.driver.entry(
        state("LOGGED_OUT", command_id="l1", reason_code=401), changes=[("session/88", None), ("session/99", b"new")]
    )
    online.driver.gone("logged out", may_reopen=False)
    online.settle()
    assert online.results("l1") == ["queued", "done"]
    assert online.results("c1")[-1] == "unknown"
    assert online.results("c2")[-1] == "failed"
    online.clock.advance(DAY_MS)
    online.settle()
    assert len(online.driver.opened) == 1
    online.turn(online.command("pair", "p1"))
    online.settle()
    assert online.driver.opened[1][1] == {}
    names = names_of(online)
    assert {"a/device", "a/session/99"} <= names
    assert not {"device", "session/88", "a/session/88", "session/99"} & names


def test_deleting_unlinks_cancels_and_leaves_nothing(online: Rig) -> None:
    online.turn(online.text("c1", to="4917001"), online.text("c2", to="4917001"))
    online.instance("deleted", version=2)
    online.settle()
    assert online.driver.logged_out == [(1, "")]
    online.clock.advance(10_001)
    online.settle()
    assert online.driver.closed == [(1, "deleted")]
    online.driver.gone("requested")
    online.settle()
    assert (online.results("c1")[-1], online.results("c2")[-1]) == ("cancelled", "cancelled")
    assert online.state() == {}
    online.no_instance()
    online.settle()
    online.turn(online.text("c3"))
    assert online.results("c3")[-1] == "queued"
    online.clock.advance(31_000)
    online.settle()
    assert online.results("c3")[-1] == "rejected"
    assert online.state() == {}


def test_a_new_instance_of_the_same_name_starts_with_nothing(online: Rig) -> None:
    online.instance("deleted", version=2)
    online.start()
    online.instance("online", version=1, generation=7)
    online.settle(12)
    assert online.driver.opened[-1][1] == {}
    online.driver.entry(message("M1"))
    online.turn()
    assert online.decoded("events.message")[-1]["envelope"]["generation"] == 7


# ---------------------------------------------------------------------- content


def test_an_unfit_event_becomes_a_dead_letter_and_the_entry_goes_on(online: Rig) -> None:
    huge = message("M1", "x")
    huge.message.push_name = "y" * 1_100_000
    online.driver.entry(huge, message("M2"), changes=[("session/88", b"step")])
    online.turn()
    (dead,) = online.decoded("deadletter")
    assert (dead["origin_topic"], dead["code"]) == ("host", "api.too_large")
    assert [each["key"]["id"] for each in online.decoded("events.message")] == ["M2"]
    assert not online.driver.closed


def test_oversized_events_are_cut_and_say_so(online: Rig) -> None:
    big = message("M1", "ü" * 600_000)
    big.message.content.raw.CopyFrom(pb.Raw(format="wa_e2e", bytes=b"r" * 700_000))
    online.driver.entry(big)
    produced = online.turn()
    (event,) = online.decoded("events.message")
    assert event["content"]["raw"] is None
    assert 500_000 < len(event["content"]["text"]) < 600_000
    cuts = [value.decode() for name, value in produced[0].headers if name == "wharf_cut"]
    assert [cut.split()[0] for cut in cuts] == ["content.raw", "content.text"]


def test_values_larger_than_a_record_travel_in_parts(online: Rig) -> None:
    big = bytes(range(256)) * 8_000
    online.driver.entry(message("M1"), changes=[("app-state", big)])
    online.turn()
    online.start()
    online.settle()
    assert online.driver.opened[0][1]["app-state"] == big
    online.driver.entry(message("M2"), changes=[("app-state", b"small")])
    online.turn()
    online.start()
    online.settle()
    assert online.driver.opened[0][1]["app-state"] == b"small"
    assert len(names_of(online)) == len(online.state()) - 1


def test_nothing_readable_stands_in_the_state(online: Rig) -> None:
    online.turn(online.text("c1", text="very secret words"))
    online.driver.entry(message("M1"), changes=[("session/491511234567", b"ratchet")])
    online.turn()
    blob = b"".join(key + value for key, value in online.state().items())
    for word in (b"secret words", b"491511234567", b"ratchet", b"session/", b"c1"):
        assert word not in blob.replace(INSTANCE.encode(), b"") or word == b"c1"


def test_a_rotation_wraps_the_data_key_anew_once(online: Rig) -> None:
    def wrapped() -> list[bytes | None]:
        return [each.value for each in online.log if each.topic == "sessions" and (each.key or b"").endswith(b"\x00dk")]

    assert len(wrapped()) == 1
    online.keyring = Keyring({"kek-2": bytes(range(32)), "kek-1": bytes(32)}, bytes(range(32)))
    online.start()
    online.online()
    online.instance(version=2, data_key_rotation="r1")
    online.settle()
    online.start()
    online.online()
    assert [b"kek-1" in (each or b"") for each in wrapped()] == [True, False]
    online.driver.entry(message("M9"), changes=[("session/88", b"later")])
    online.turn()
    assert "session/88" in names_of(online)


def names_of(rig: Rig) -> set[str]:
    state = rig.state()
    wrapped = next(value for key, value in state.items() if key.endswith(b"\x00dk"))
    key = rig.keyring.unwrap(INSTANCE, wrapped)
    return {
        key.open(record.partition(b"\x00")[2].decode(), value)[0]
        for record, value in state.items()
        if not record.endswith(b"\x00dk")
    }
