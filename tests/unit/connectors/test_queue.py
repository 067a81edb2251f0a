"""The send queue against a model: exactly one final per command, order per chat, and a restart from the items changes nothing."""

from __future__ import annotations

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from connectors.queue import BODY, MAX_BYTES, MAX_COMMANDS, PROGRESS, SendQueue
from connectors.sends import DAY_MS, FIRST_REVISION, Outgoing, Problem, State, Told

CHATS = ("ann@lid", "491511@s.whatsapp.net", "bob@lid")
# Two addresses of one person; that they are is known from `started` on.
ANN = CHATS[:2]


def outgoing(offset: int, body: bytes) -> Outgoing:
    """The body is the test's own description of a command."""
    lane, kind, hold, expires, interval = body.decode().split("|")
    return Outgoing(
        offset=offset,
        body=body,
        command_id=f"c{offset}",
        type=kind,
        lane=lane,
        message_id=f"M{offset}" if kind == "send" else None,
        admitted_at=0,
        expires_at=int(expires) if expires else None,
        hold=hold == "hold",
        interval_ms=int(interval),
    )


def addresses(chat: str) -> tuple[str, ...]:
    return ANN if chat in ANN else (chat,)


def same_person(one: str, other: str) -> bool:
    return addresses(one) == addresses(other)


class QueueMachine(RuleBasedStateMachine):
    """Every rule is one transaction; `crash` throws the memory away and restores from what the rules committed."""

    def __init__(self) -> None:
        super().__init__()
        self.queue = SendQueue()
        self.items: dict[str, bytes] = {}
        self.now = 1_000
        self.offset = 0
        self.results: dict[str, list[Told]] = {}
        self.handed: dict[str, Outgoing] = {}
        self.wire: dict[str, list[int]] = {chat: [] for chat in CHATS}
        self.on_wire: dict[str, State] = {}

    # ------------------------------------------------------------------ helpers

    def commit(self, *told: Told | None) -> None:
        for each in told:
            if each is not None:
                self.results.setdefault(each.command.command_id, []).append(each)
        for name, value in self.queue.changes().items():
            if value is None:
                self.items.pop(name, None)
            else:
                self.items[name] = value

    # ------------------------------------------------------------------ rules

    @initialize()
    def start(self) -> None:
        self.commit()

    @rule(
        chat=st.sampled_from(CHATS),
        kind=st.sampled_from(("send", "send", "send", "typing")),
        hold=st.booleans(),
        expires=st.one_of(st.none(), st.integers(0, 200_000)),
        interval=st.sampled_from((0, 0, 700)),
    )
    def admit(self, chat: str, kind: str, hold: bool, expires: int | None, interval: int) -> None:
        at = "" if expires is None else str(self.now + expires)
        body = f"{chat}|{kind}|{'hold' if hold else 'resend'}|{at}|{interval}".encode()
        self.commit(self.queue.admit(outgoing(self.offset, body)))
        self.offset += 1

    @rule()
    def hand_out(self) -> None:
        for command in self.queue.ready(self.now, lambda _: True):
            assert command.command_id not in self.handed, "handed out twice"
            assert command.deadline is None or command.deadline > self.now
            if command.state is State.QUEUED:
                older = [other for other in self.queue if other.lane == command.lane and other.offset < command.offset]
                assert not older, "overtakes an older command of its chat"
                assert all(each.lane != command.lane for each in self.handed.values()), "two of one chat under way"
                on_their_way = [each for each in self.queue if each.state is not State.QUEUED]
                assert not any(same_person(each.lane, command.lane) for each in on_their_way), "overtakes"
            else:
                assert not command.hold, "sends again what is to be held"
            self.handed[command.command_id] = command

    def some(self, data: st.DataObject) -> Outgoing:
        return self.handed[data.draw(st.sampled_from(sorted(self.handed)))]

    @precondition(lambda self: self.handed)
    @rule(data=st.data())
    def started(self, data: st.DataObject) -> None:
        command = self.some(data)
        if command.type == "send":
            self.commit(self.queue.started(command.command_id, command.lane, addresses(command.lane), self.now))
            if command.offset not in self.wire[command.lane]:
                self.wire[command.lane].append(command.offset)

    @rule(chat=st.sampled_from(ANN), then=st.sampled_from(ANN))
    def one_under_way_and_another_admitted(self, chat: str, then: str) -> None:
        """The beginning of most trouble; chance alone comes to it too rarely."""
        self.admit(chat, "send", False, None, 0)
        self.hand_out()
        for command in list(self.handed.values()):
            if command.lane == chat and command.type == "send":
                self.commit(self.queue.started(command.command_id, chat, ANN, self.now))
                if command.offset not in self.wire[chat]:
                    self.wire[chat].append(command.offset)
        self.admit(then, "send", False, None, 0)
        self.hand_out()

    @precondition(lambda self: self.handed)
    @rule(data=st.data(), outcome=st.sampled_from(("acked", "refused", "not_sent", "no_ack")))
    def finished(self, data: st.DataObject, outcome: str) -> None:
        command = self.some(data)
        del self.handed[command.command_id]
        if outcome == "acked":
            self.commit(self.queue.acked(command.command_id))
        elif outcome == "refused":
            self.commit(self.queue.refused(command.command_id, 463, "server", "no"))
        elif outcome == "not_sent":
            self.queue.not_sent(command.command_id, self.now)
            self.commit()
        else:
            self.commit(*self.queue.no_ack(command.command_id, self.now))

    @precondition(lambda self: self.offset)
    @rule(data=st.data(), wire_type=st.sampled_from(("", "read", "sender", "retry")))
    def receipt(self, data: st.DataObject, wire_type: str) -> None:
        offset = data.draw(st.integers(0, self.offset - 1))
        self.commit(self.queue.receipt(f"M{offset}", wire_type))

    @precondition(lambda self: self.offset)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        offset = data.draw(st.integers(0, self.offset - 1))
        told = self.queue.cancel(f"c{offset}")
        if told is not None:
            assert f"c{offset}" not in self.handed
            assert all(offset not in sent for sent in self.wire.values()), "cancelled what may have left"
        self.commit(told)

    @rule(ms=st.sampled_from((1, 500, 10_000, 60_000, DAY_MS)))
    def time_passes(self, ms: int) -> None:
        self.now += ms
        self.commit(*self.queue.due(self.now))

    @rule()
    def session_ends(self) -> None:
        self.handed.clear()
        self.commit(*self.queue.session_ended(self.now))

    @rule()
    def crash(self) -> None:
        self.handed.clear()
        self.queue = SendQueue.restore(self.items, outgoing)
        self.commit(*self.queue.session_ended(self.now))

    @rule(done=st.booleans())
    def logged_out(self, done: bool) -> None:
        self.handed.clear()
        told = self.queue.logged_out("c0" if done else "")
        self.commit(*told)
        assert len(self.queue) == 0

    # ------------------------------------------------------------------ promises

    @invariant()
    def one_final_each_and_growing_revisions(self) -> None:
        for command_id, told in self.results.items():
            finals = [each for each in told if each.final]
            assert len(finals) <= 1
            if finals:
                assert told[-1].final, "told something after the final"
                assert command_id not in self.queue
            else:
                assert command_id in self.queue, "a command was lost"
            revisions = [each.revision for each in told]
            assert revisions == list(range(FIRST_REVISION + 1, FIRST_REVISION + 1 + len(told)))

    @invariant()
    def chats_are_in_order_on_the_wire(self) -> None:
        for offsets in self.wire.values():
            assert offsets == sorted(offsets)

    @invariant()
    def the_items_are_the_queue(self) -> None:
        restored = SendQueue.restore(self.items, outgoing)
        bodies = {name.removeprefix(BODY) for name in self.items if name.startswith(BODY)}
        assert {name.removeprefix(PROGRESS) for name in self.items if name.startswith(PROGRESS)} <= bodies
        assert {each.command_id: (each.state, each.revision, each.chat, each.started_at) for each in restored} == {
            each.command_id: (each.state, each.revision, each.chat, each.started_at) for each in self.queue
        }

    @invariant()
    def what_may_go_goes(self) -> None:
        """No command is stuck: with time standing still, whoever is free and not paced is handed out or blocked by its chat."""
        wake = self.queue.wake_at(self.now)
        waiting = [each for each in self.queue if not each.handed and each.deadline is not None]
        assert not waiting or wake is not None


TestQueueMachine = QueueMachine.TestCase
TestQueueMachine.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)


def plain(offset: int, chat: str = "ann@lid", size: int = 0) -> Outgoing:
    command = outgoing(offset, f"{chat}|send|resend||0".encode())
    command.body += b" " * size
    return command


def test_a_full_queue_refuses() -> None:
    queue = SendQueue()
    for offset in range(MAX_COMMANDS):
        assert queue.admit(plain(offset)).state == "queued"
    told = queue.admit(plain(MAX_COMMANDS))
    assert (told.state, told.final, told.problem and told.problem.code) == ("rejected", True, "api.queue_full")
    assert len([name for name in queue.changes() if name.startswith(BODY)]) == MAX_COMMANDS


def test_the_queue_is_bounded_in_bytes() -> None:
    queue = SendQueue()
    assert queue.admit(plain(0, size=MAX_BYTES - 100)).state == "queued"
    assert queue.admit(plain(1, size=100)).state == "rejected"


def test_all_addresses_of_a_chat_under_way_are_blocked() -> None:
    queue = SendQueue()
    queue.admit(plain(0, "491511@s.whatsapp.net"))
    (first,) = queue.ready(0, lambda _: True)
    queue.started(first.command_id, "ann@lid", ("491511@s.whatsapp.net",), 0)
    queue.admit(plain(1, "ann@lid"))
    queue.admit(plain(2, "bob@lid"))
    assert [each.offset for each in queue.ready(0, lambda _: True)] == [2]
    queue.acked(first.command_id)
    assert [each.offset for each in queue.ready(0, lambda _: True)] == [1]


def test_a_chat_stays_busy_until_the_host_is_done_with_what_a_receipt_settled() -> None:
    queue = SendQueue()
    queue.admit(plain(0))
    queue.admit(plain(1))
    (first,) = queue.ready(0, lambda _: True)
    queue.started(first.command_id, "ann@lid", (), 0)
    told = queue.receipt("M0", "")
    assert told is not None
    assert told.state == "sent"
    assert queue.ready(0, lambda _: True) == []
    assert queue.acked(first.command_id) is None
    assert [each.offset for each in queue.ready(0, lambda _: True)] == [1]


def test_abandoning_tells_what_may_have_left() -> None:
    queue = SendQueue()
    queue.admit(plain(0))
    queue.admit(plain(1))
    (first,) = queue.ready(0, lambda _: True)
    queue.started(first.command_id, "ann@lid", (), 0)
    told = queue.abandon(Problem("api.not_found", "deleted"), "cancelled")
    assert [(each.command.offset, each.state) for each in told] == [(0, "unknown"), (1, "cancelled")]
