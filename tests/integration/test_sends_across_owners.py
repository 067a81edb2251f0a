"""Sends that are queued, under way or unsettled go on at the next owner: in order, as the same bytes, with one final result."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.support.connector_stack import PARTITIONS, ConnectorStack, Record, running_connector_stack
from tests.support.kafka import RunningKafka
from tests.support.streams import Process
from tests.support.waiting import wait_until

pytestmark = pytest.mark.timeout(240)
SLOTS = ("connector-1", "connector-2")
INSTANCE, PHONE = "moves-1", "4915500001"
ALPHA, BETA = "4915500101", "4915500102"
SECONDS = 60
# Longer than a send waits for its ack (10 s): then it is unsettled.
UNSETTLED_S = 30


class Pair:
    """Two connectors and one instance that either may own."""

    def __init__(self, stack: ConnectorStack) -> None:
        self.stack = stack
        self.processes: dict[str, Process] = {}

    def start(self, slot: str) -> None:
        self.processes[slot] = self.stack.start(wait=False, slot=slot)
        wait_until(self._settled, SECONDS, f"every partition has an owner; {self.processes[slot].tail()}")

    def _settled(self) -> bool:
        roles = [row["role"] for each in self.processes.values() for row in each.health()["partitions"]]
        return roles.count("owner") == PARTITIONS and "taking over" not in roles

    def row(self) -> Record:
        """The instance as its owner shows it: online."""

        def shown() -> Record:
            for process in self.processes.values():
                if process.alive:
                    for row in process.health()["instances"]:
                        if row["instance_id"] == INSTANCE and row["state"] == "online":
                            return dict(row)
            return {}

        tails = [process.tail()[-1500:] for process in self.processes.values()]
        return wait_until(shown, SECONDS, f"{INSTANCE} is online somewhere; {tails}")

    def faults(self, phone: str, **wanted: bool) -> None:
        self.stack.simulator.call("POST", f"/v1/phones/{phone}/faults", **wanted)

    def no_faults(self) -> None:
        for phone in (PHONE, ALPHA, BETA):
            self.stack.simulator.call("DELETE", f"/v1/phones/{phone}/faults")

    def text(self, command_id: str, to: str, **fields: object) -> None:
        self.stack.text(command_id, INSTANCE, to, command_id, **fields)
        self.stack.streams.flush()

    def result(self, command_id: str, state: str) -> Record:
        return self.stack.streams.wait_result(command_id, state)

    def states(self, command_id: str) -> list[str]:
        return [each["state"] for each in self.stack.streams.results(command_id)]

    def end_of_owner(self, how: str) -> Record:
        """The owner ends in one of three ways; the row of the next one, of another slot."""
        before = self.row()
        slot = before["slot"]
        process = self.processes.pop(slot)
        if how == "killed":
            process.kill()
        else:
            assert process.stop()[0] == 0
        if how == "left":
            leaving = Process("connectors", self.slot_env(slot), self.stack.folder / "leaving.log", "--leave")
            assert leaving.wait(SECONDS) == 0, leaving.tail()
        after = self.row()
        assert (after["slot"], after["partition"]) == (({*SLOTS} - {slot}).pop(), before["partition"])
        assert after["epoch"] > before["epoch"]
        return after

    def slot_env(self, slot: str) -> dict[str, str]:
        return {**self.stack.env, "WHARF_CONNECTOR__SLOT": slot}

    def bring_back(self) -> None:
        for slot in SLOTS:
            if slot not in self.processes:
                self.start(slot)

    def times_sent(self, message_id: str) -> int:
        """How often the server took it, all repetitions counted."""
        sent = self.stack.simulator.call("GET", "/v1/ledger?dedupe=false")["sent"]
        return sum(int(row.get("count", 1)) for row in sent if row["id"] == message_id)


@pytest.fixture(scope="module")
def pair(kafka: RunningKafka, prefix: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    with running_connector_stack(kafka, prefix, tmp_path_factory.mktemp("owners")) as stack:
        stack.env["WHARF_CONNECTOR__SESSION_TIMEOUT_MS"] = "3000"
        stack.env["WHARF_CONNECTOR__STANDBY"] = "true"
        made = Pair(stack)
        made.start(SLOTS[0])
        for contact in (ALPHA, BETA):
            stack.simulator.contact(contact)
        stack.pair(INSTANCE, PHONE)
        yield made


@pytest.mark.parametrize("how", ["killed", pytest.param("stopped", marks=pytest.mark.long), "left"])
def test_sends_in_every_state_go_on_at_the_next_owner(pair: Pair, how: str) -> None:
    """One unsettled, one committed with its stanza and not acknowledged, others queued behind both."""
    pair.bring_back()
    pair.row()
    pair.faults(PHONE, hold_ack=True, drop_receipts=True)
    alpha, beta = [f"{how}-a{n}" for n in range(3)], [f"{how}-b{n}" for n in range(3)]
    pair.text(alpha[0], ALPHA)
    wait_until(lambda: "unsettled" in pair.states(alpha[0]), UNSETTLED_S, "the first is unsettled")
    for command_id in (beta[0], alpha[1], beta[1], alpha[2], beta[2]):
        pair.text(command_id, BETA if command_id in beta else ALPHA)
    pair.result(beta[0], "sending")
    for command_id in (*alpha[1:], *beta[1:]):
        pair.result(command_id, "queued")
    pair.end_of_owner(how)
    pair.no_faults()
    ids = {each: str(pair.result(each, "sent")["message_id"]) for each in (*alpha, *beta)}
    finals = pair.stack.finals()
    assert {each: finals[each] for each in ids} == {each: ["sent"] for each in ids}
    wait_until(lambda: pair.stack.ledger_counts().keys() >= set(ids.values()), SECONDS, "all arrived")
    counts = pair.stack.ledger_counts()
    # A second encryption under the same id would be dispatched a second time: a phone drops repeated bytes only.
    assert {each: counts[ids[each]] for each in ids} == dict.fromkeys(ids, 1)
    # What was on the wire without an answer went out again.
    assert pair.times_sent(ids[alpha[0]]) > 1
    out = {each["command_id"]: each["key"]["id"] for each in pair.stack.messages(INSTANCE, "out")}
    assert {each: out[each] for each in ids} == ids
    place = {row["id"]: number for number, row in enumerate(pair.stack.simulator.received(dedupe=True))}
    for chat in (alpha, beta):
        assert [ids[each] for each in chat] == sorted((ids[each] for each in chat), key=place.__getitem__)


def test_a_receipt_after_the_final_result_is_a_status_only(pair: Pair) -> None:
    """Unsettled and on hold, it expires as unknown at the next owner; then the recipient gets it after all."""
    pair.bring_back()
    pair.row()
    pair.faults(PHONE, hold_ack=True)
    pair.faults(ALPHA, hold_delivery=True)
    expires_at = time.time_ns() // 1_000_000 + 25_000
    pair.text("late-1", ALPHA, on_unknown="hold", expires_at=expires_at)
    wait_until(lambda: "unsettled" in pair.states("late-1"), UNSETTLED_S, "it is unsettled")
    pair.end_of_owner("killed")
    message_id = str(pair.result("late-1", "unknown")["message_id"])
    pair.no_faults()

    def delivered() -> list[Record]:
        told = pair.stack.events("events.status", INSTANCE)
        return [each for each in told if each["message_id"] == message_id and each["status"] == "delivered"]

    wait_until(delivered, SECONDS, "the late receipt is a status event")
    assert pair.stack.finals()["late-1"] == ["unknown"]
    assert pair.stack.ledger_counts()[message_id] == 1
    # The chat is free again.
    pair.text("late-2", ALPHA)
    pair.result("late-2", "sent")
    assert pair.stack.finals()["late-1"] == ["unknown"]
