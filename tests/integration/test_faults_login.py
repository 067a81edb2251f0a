"""How WhatsApp ends a session or refuses its login: the event, the state, what becomes of commands, what is shown."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator

import pytest

from tests.support.connector_stack import ConnectorStack
from tests.support.faults import CONTACT, Subject, faulty_stack, subject
from tests.support.kafka import RunningKafka
from tests.support.waiting import wait_until

pytestmark = pytest.mark.timeout(180)
Fresh = Callable[[], Subject]


@pytest.fixture(scope="module")
def stack(kafka: RunningKafka, prefix: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ConnectorStack]:
    with faulty_stack(kafka, prefix, tmp_path_factory.mktemp("login")) as made:
        yield made


@pytest.fixture(scope="module")
def fresh(stack: ConnectorStack) -> Fresh:
    """Each call a paired, online instance of its own."""
    numbers = itertools.count(1)

    def make() -> Subject:
        number = next(numbers)
        return subject(stack, f"login-{number}", f"49154000{number:02}")

    return make


def leave_open(it: Subject) -> None:
    """One command on its way without an answer, one queued behind it."""
    it.faults(hold_ack=True, drop_receipts=True)
    it.text(f"{it.name}-open")
    it.result(f"{it.name}-open", "sending")
    it.text(f"{it.name}-queued")
    it.result(f"{it.name}-queued", "queued")


@pytest.mark.parametrize(
    ("reason", "words", "step"),
    [
        (401, "the phone unlinked this device (401)", "pair the instance again"),
        (403, "the account's main device is gone (403)", "pair the instance again"),
        (406, "WhatsApp banned the account (406)", "appeal in the WhatsApp app"),
    ],
)
def test_a_login_refused_for_good_logs_out(fresh: Fresh, reason: int, words: str, step: str) -> None:
    it = fresh()
    leave_open(it)
    it.fail(reason)
    assert it.wait_told("session.logged_out")["reason_code"] == reason
    row = it.wait_shown("logged_out", words, step)
    assert row["last_error"].startswith("wa.logged_out: ")
    assert it.result(f"{it.name}-open", "unknown")["error"]["code"] == "wa.unknown_outcome"
    assert it.result(f"{it.name}-queued", "failed")["error"]["code"] == "wa.logged_out"
    assert row["queue"] == 0


def test_a_removed_device_logs_out_and_is_paired_again_with_a_gap(fresh: Fresh) -> None:
    it = fresh()
    leave_open(it)
    it.control("kick", remove=True)
    assert it.wait_told("session.logged_out")["reason"] == "device_removed"
    it.wait_shown("logged_out", "wa.logged_out", "pair the instance again")
    it.result(f"{it.name}-open", "unknown")
    it.result(f"{it.name}-queued", "failed")
    it.no_faults()
    known = len(it.stack.events("pairing", it.name))
    it.stack.command("pair", f"{it.name}-again", it.name)
    it.stack.streams.flush()
    codes = wait_until(
        lambda: [each["qr"] for each in it.stack.events("pairing", it.name)[known:] if each["qr"]], 30, "a new QR code"
    )
    it.control("scan", qr=codes[-1])
    it.wait_shown("online")
    assert it.stack.finals()[f"{it.name}-again"] == ["done"]
    gap = it.wait_told("session.gap")
    assert (gap["state"], gap["reason"]) == ("gap", "logged_out")
    assert gap["counts"]["away_ms"] > 0
    it.hears()


def test_a_ban_is_told_with_its_end_and_waited_for(fresh: Fresh) -> None:
    it = fresh()
    it.fail(402, code=101, expire_s=4)
    event = it.wait_told("session.banned")
    assert event["reason_code"] == 101
    assert event["expires_at"] > event["envelope"]["received_at"]
    row = it.wait_shown("banned", "too many messages to strangers (101)", "wait")
    assert row["until_ms"] == event["expires_at"]
    it.text(f"{it.name}-1")
    it.result(f"{it.name}-1", "queued")
    ban = wait_until(it.limits, 30, "a limit event")[0]
    assert (ban["limit"], ban["reason_code"], ban["until"]) == ("ban", 101, event["expires_at"])
    it.wait_shown("online")
    assert time.time() * 1000 >= event["expires_at"]
    it.result(f"{it.name}-1", "sent")


def test_an_outdated_client_is_told_and_keeps_its_queue(fresh: Fresh) -> None:
    it = fresh()
    it.fail(405)
    assert it.wait_told("session.outdated")["reason_code"] == 405
    it.wait_shown("outdated", "wa.client_outdated", "upgrade wharf")
    it.text(f"{it.name}-1")
    it.result(f"{it.name}-1", "queued")
    wait_until(lambda: it.stack.shown(it.name)["queue"] == 1, 30, "it is kept")


def test_an_unknown_refusal_fails_and_is_tried_again(fresh: Fresh) -> None:
    it = fresh()
    it.fail(400)
    assert it.wait_told("session.failed")["reason_code"] == 400
    it.wait_shown("failed", "(400)", "tries again each minute")


def test_service_unavailable_at_login_is_retried_at_once(fresh: Fresh) -> None:
    it = fresh()
    before = len(it.told("session.offline"))
    it.fail(503, times=2)
    wait_until(lambda: [e for e in it.told("session.offline")[before:] if e["reason_code"] == 503], 30, "503 is told")
    it.wait_shown("online")
    it.hears()


@pytest.mark.parametrize(("code", "kind"), [("515", "session.restart_required"), ("503", "session.offline")])
def test_a_stream_error_is_answered_by_a_new_login(fresh: Fresh, code: str, kind: str) -> None:
    it = fresh()
    logins = len(it.told("session.online"))
    it.control("kick", code=code)
    wait_until(lambda: [e for e in it.told(kind) if e["reason_code"] == int(code)], 30, f"{code} is told")
    it.wait_told("session.online", logins + 1)
    it.wait_shown("online")
    it.hears()


def test_replaced_means_ownership_lost_until_the_instance_changes(fresh: Fresh) -> None:
    it = fresh()
    it.control("kick", conflict="replaced")
    it.wait_told("session.replaced")
    row = it.wait_shown("replaced", "wa.session_replaced", "change the instance")
    message_id = it.stack.simulator.say(CONTACT, it.phone, "who is there?")
    it.text(f"{it.name}-1")
    it.result(f"{it.name}-1", "queued")
    it.stack.connector.kill()
    it.stack.start()
    again = it.wait_shown("replaced", "wa.session_replaced", "change the instance")
    assert (again["epoch"], again["since_ms"]) == (row["epoch"], row["since_ms"])
    it.stack.instance(it.name, version=2)
    it.wait_shown("online")
    wait_until(lambda: it.arrived(message_id), 30, "it waited for us")
    assert it.wait_told("session.gap")["reason"] == "replaced"
    it.result(f"{it.name}-1", "sent")


def test_every_final_is_the_only_one(stack: ConnectorStack) -> None:
    assert {name: told for name, told in stack.finals().items() if len(told) != 1} == {}
