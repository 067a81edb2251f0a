"""The limiter against a model: whatever happens, in whatever order, with restarts and crashes in between.

Promises checked: every command is held, admitted once or ended once, never two of these; duplicates get the stored
result; queues are bounded; nobody overtakes within an instance; nothing leaves while it is not online; the pace is
kept; a restart from the items gives the same state.
"""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from core import ids
from core.kafka.processor import OutRecord
from streams.limiter.limits import Facts, Policy
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

POLICY = Policy(interval_ms=200, grace_ms=5_000, longest_wait_ms=3_600_000, queue_commands=6, queue_bytes=4_000)
INSTANCES = st.sampled_from(["alpha", "beta"])
PASSING = {"pair", "logout", "cancel"}
FINAL = {"rejected", "expired", "cancelled", "done"}


@dataclass
class Known:
    """What the model knows of one command."""

    body: dict[str, Any]
    offset: int
    due: int
    deadline: int
    where: str
    generation: int | None = None
    grace: int = 0
    told: dict[str, Any] = field(default_factory=dict)

    @property
    def instance(self) -> str:
        return str(self.body["instance_id"])

    @property
    def passing(self) -> bool:
        return self.body["type"] in PASSING


class Limiter(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="limiter-"))
        self.bench = Bench(self.folder, POLICY)
        self.now = T0
        self.offset = 0
        self.known: dict[tuple[str, str], Known] = {}
        self.online: dict[str, int] = {}
        self.paced_at: dict[str, int] = {}
        self.uncommitted: list[bytes] = []

    def teardown(self) -> None:
        self.bench.partition.state.close()
        shutil.rmtree(self.folder)

    # -- the model's own view

    def facts(self, instance: str) -> Facts | None:
        facts = self.bench.instances.known.get(instance)
        return None if facts is None or facts.deleted else facts

    def is_online(self, instance: str) -> bool:
        facts = self.facts(instance)
        return facts is not None and self.online.get(instance) == facts.generation

    def interval(self, instance: str) -> int:
        facts = self.facts(instance)
        if facts is None or facts.mode == "off":
            return 0
        return POLICY.interval_ms if facts.interval_ms is None else facts.interval_ms

    def held(self, instance: str) -> list[Known]:
        return [k for k in self.known.values() if k.where == "held" and k.instance == instance]

    # -- what may happen

    def produce(self, body: dict[str, Any], avro: bool) -> list[OutRecord]:
        value = as_avro(body) if avro else as_json(body)
        self.bench.command(arrival(value, self.offset, self.now), self.now)
        self.offset += 1
        return self.commit()

    def commit(self) -> list[OutRecord]:
        records = self.bench.take()
        for record in admitted(records):
            self.saw_admitted(record)
        for result in results(records):
            self.saw_result(result)
        return records

    def saw_admitted(self, record: dict[str, Any]) -> None:
        known = self.known[record["instance_id"], record["command_id"]]
        assert known.where in ("new", "held"), "admitted twice, or after its end"
        assert record["command"] in (as_avro(known.body), as_json(known.body))
        assert record["origin"] == {"partition": 0, "offset": known.offset}
        facts = self.facts(known.instance)
        assert facts is not None
        assert known.due <= self.now < known.deadline
        if not known.passing:
            assert self.is_online(known.instance), "left while the instance was not online"
            for other in self.held(known.instance):
                behind = (other.due, other.offset) >= (known.due, known.offset)
                assert other.passing or behind or other.deadline <= self.now, "overtaken"
            if known.body["type"] == "send" and self.interval(known.instance):
                last = self.paced_at.get(known.instance, 0)
                assert self.now - last >= self.interval(known.instance), "a burst"
                assert record["decision"]["interval_ms"] == self.interval(known.instance)
                self.paced_at[known.instance] = self.now
        known.where = "admitted"

    def saw_result(self, result: dict[str, Any]) -> None:
        known = self.known[result["instance_id"], result["command_id"]]
        if result["result_id"] != ids.result_id(result["instance_id"], result["command_id"]):
            assert result["error"]["code"] == "api.idempotency_mismatch"
            assert result["final"]
            return
        if result == known.told:
            return
        assert not known.told.get("final"), "a second result after the final one"
        assert result["revision"] > known.told.get("revision", 0)
        assert result["final"] == (result["state"] in FINAL)
        assert result["metadata"] == known.body.get("metadata", {})
        if result["state"] == "delayed":
            assert known.where == "new"
            known.where = "held"
        elif result["state"] == "admitted":
            assert known.where == "admitted"
        else:
            assert known.where in ("new", "held"), "ended here although it was admitted"
            known.where = "ended"
        known.told = result

    @rule(
        instance=INSTANCES,
        number=st.integers(0, 12),
        kind=st.sampled_from(["send", "send", "send", "typing", "pair"]),
        text=st.sampled_from(["a", "b", "x" * 700]),
        wait=st.sampled_from([None, None, None, 1_000, 20_000, 4_000_000]),
        life=st.sampled_from([None, None, 0, 500, 30_000]),
        avro=st.booleans(),
    )
    def command(
        self, instance: str, number: int, kind: str, text: str, wait: int | None, life: int | None, avro: bool
    ) -> None:
        body = command(f"c{number}", instance, kind, metadata={"n": str(number)})
        if kind == "send":
            body["content"]["text"] = text
        if wait is not None:
            body["not_before"] = self.now + wait
        if life is not None:
            body["expires_at"] = self.now + life
        key = (instance, body["command_id"])
        former = self.known.get(key)
        if former is not None:
            if body == former.body:
                self.check_repeat(former, avro)
            else:
                self.check_mismatch(former, body, avro)
            return
        expires = T0 * 2 if life is None else self.now + life
        known = Known(body, self.offset, self.now + (wait or 0), min(expires, self.now + POLICY.longest_wait_ms), "new")
        expected = self.expect(known, wait, life)
        self.known[key] = known
        self.produce(body, avro)
        assert known.told["state"] == expected, (known.told, expected)

    def expect(self, known: Known, wait: int | None, life: int | None) -> str:
        """The state a new command gets, by a second way of saying it."""
        facts = self.facts(known.instance)
        known.generation = None if facts is None else facts.generation
        known.grace = self.now + POLICY.grace_ms
        if wait is not None and life is not None and wait >= life:
            return "rejected"
        if life == 0:
            return "expired"
        if wait is not None and wait > POLICY.longest_wait_ms:
            return "rejected"
        waits: int | None = None
        if facts is not None and wait is not None:
            waits = known.due
        elif facts is not None and known.passing:
            return "admitted"
        elif facts is not None and self.is_online(known.instance):
            ahead = [k for k in self.held(known.instance) if not k.passing and k.due <= self.now]
            free = self.paced_at.get(known.instance, 0) + self.interval(known.instance)
            paced = known.body["type"] == "send" and self.interval(known.instance) > 0 and free > self.now
            if not ahead and not paced:
                return "admitted"
            waits = (free if paced else self.now) + len(self.held(known.instance)) * self.interval(known.instance)
        held = self.held(known.instance)
        # The larger of the two encodings decides nothing here: sizes are far from the limit, or far over it.
        if len(held) >= POLICY.queue_commands:
            return "rejected"
        size = sum(k.body["content"]["text"] == "x" * 700 for k in held if k.body["type"] == "send")
        if size >= 5 and known.body.get("content", {}).get("text") == "x" * 700:
            return self.by_bytes(known, waits)
        return "rejected" if waits is not None and waits >= known.deadline else "delayed"

    def by_bytes(self, known: Known, waits: int | None) -> str:
        """Near the limit of bytes the encodings matter: ask for the size that is really queued."""
        queued = self.bench.partition.state.queued(known.instance)[1]
        sizes = {
            queued + len(as_avro(known.body)) > POLICY.queue_bytes,
            queued + len(as_json(known.body)) > POLICY.queue_bytes,
        }
        if sizes == {True} or (waits is not None and waits >= known.deadline):
            return "rejected"
        assert sizes == {False}, "choose sizes that do not lie between the encodings"
        return "delayed"

    def check_repeat(self, known: Known, avro: bool) -> None:
        where, told = known.where, known.told
        said = results(self.produce(known.body, avro))
        assert said == [told]
        assert known.where == where

    def check_mismatch(self, known: Known, body: dict[str, Any], avro: bool) -> None:
        where, told = known.where, known.told
        said = results(self.produce(body, avro))
        assert [r["state"] for r in said] == ["rejected"]
        assert said[0]["error"]["code"] == "api.idempotency_mismatch"
        assert said[0]["result_id"] != told["result_id"]
        assert (known.where, known.told) == (where, told)

    @rule(instance=INSTANCES, number=st.integers(0, 12), serial=st.integers(0, 10_000))
    def cancel(self, instance: str, number: int, serial: int) -> None:
        key = (instance, f"cancel{serial}")
        if key in self.known:
            return
        target = self.known.get((instance, f"c{number}"))
        body = command(key[1], instance, "cancel", target_command_id=f"c{number}")
        known = self.known[key] = Known(body, self.offset, self.now, T0 * 2, "new")
        was = None if target is None else target.where
        self.produce(body, avro=False)
        if was == "held" and target is not None:
            assert known.told["state"] == "done"
            assert target.told["state"] == "cancelled"
        elif was == "admitted" and target is not None and not target.told["final"] and self.facts(instance) is not None:
            assert known.told["state"] == "admitted"
        else:
            assert known.told["state"] == "rejected"
            assert known.told["error"]["code"] in ("api.not_found", "api.conflict")

    @rule(instance=INSTANCES, mode=st.sampled_from(["default", "off", "custom"]))
    def create_or_change(self, instance: str, mode: Any) -> None:
        facts = self.facts(instance)
        generation = self.now if facts is None else facts.generation
        interval = 1_000 if mode == "custom" else None
        self.bench.instances.known[instance] = Facts(generation, "online", mode, interval)
        if facts is None:
            # A command that waited for the instance belongs to it from now on; others belong to its predecessor.
            for known in self.held(instance):
                if known.generation is None and known.grace > self.now:
                    known.generation = generation
        self.bench.partition.instance_changed(instance, self.now)
        self.bench.partition.tick(self.now)
        self.commit()

    @rule(instance=INSTANCES, tombstone=st.booleans())
    def delete(self, instance: str, tombstone: bool) -> None:
        facts = self.facts(instance)
        if facts is None:
            return
        waiting = [k for k in self.held(instance) if k.generation is not None]
        if tombstone:
            del self.bench.instances.known[instance]
        else:
            self.bench.instances.known[instance] = Facts(facts.generation, "deleted")
        self.bench.partition.instance_changed(instance, self.now)
        self.bench.partition.tick(self.now)
        self.commit()
        self.online.pop(instance, None)
        self.paced_at.pop(instance, None)
        for known in waiting:
            assert known.told["state"] in ("cancelled", "expired")

    @rule(instance=INSTANCES, state=st.sampled_from(["online", "online", "offline", "connecting", "degraded", "gap"]))
    def session(self, instance: str, state: str) -> None:
        facts = self.facts(instance)
        if facts is None:
            return
        if state == "online":
            self.online[instance] = facts.generation
        elif state in ("offline", "connecting"):
            self.online.pop(instance, None)
        self.bench.partition.session(session_event(instance, facts.generation, state), self.now)
        self.bench.partition.tick(self.now)
        self.commit()

    @rule(ms=st.sampled_from([1, 50, 199, 200, 1_000, 5_000, 30_000, 4_000_000]))
    def time_passes(self, ms: int) -> None:
        self.now += ms
        self.bench.partition.tick(self.now)
        self.commit()

    @precondition(lambda self: any(k.where == "admitted" and not k.told["final"] for k in self.known.values()))
    @rule(data=st.data(), state=st.sampled_from(["sent", "failed", "unknown"]))
    def connector_ends(self, data: st.DataObject, state: str) -> None:
        open_ones = [key for key, k in self.known.items() if k.where == "admitted" and not k.told["final"]]
        known = self.known[data.draw(st.sampled_from(sorted(open_ones)))]
        record = {
            **known.told,
            "state": state,
            "final": True,
            "revision": known.told["revision"] + 3,
            "message_id": "3EB0",
        }
        value = CODEC.encode("results", record)
        self.bench.partition.told(CODEC.decode("results", value), value)
        self.commit()
        known.told = CODEC.decode("results", value)

    @rule(compacted=st.booleans())
    def restart(self, compacted: bool) -> None:
        self.bench.restart(self.offset, self.now, compacted=compacted)
        self.bench.partition.tick(self.now)
        self.commit()

    @rule(instance=INSTANCES, serial=st.integers(0, 10_000))
    def crash_before_commit(self, instance: str, serial: int) -> None:
        """A command is decided, the process dies before the commit: it is read again and decided the same."""
        key = (instance, f"crash{serial}")
        if key in self.known:
            return
        body = command(key[1], instance)
        self.bench.command(arrival(as_json(body), self.offset, self.now), self.now)
        lost = results(self.bench.partition.take())
        self.bench.restart(self.offset, self.now)
        facts = self.facts(instance)
        self.known[key] = Known(body, self.offset, self.now, self.now + POLICY.longest_wait_ms, "new")
        self.known[key].generation = None if facts is None else facts.generation
        self.known[key].grace = self.now + POLICY.grace_ms
        again = results(self.produce(body, avro=False))
        assert again == lost

    # -- what always holds

    @invariant()
    def queues_are_bounded(self) -> None:
        for instance in ("alpha", "beta"):
            count, size = self.bench.partition.state.queued(instance)
            assert count <= POLICY.queue_commands
            assert size <= POLICY.queue_bytes
            assert count == len(self.held(instance))

    @invariant()
    def nobody_waits_for_nothing(self) -> None:
        self.bench.partition.tick(self.now)
        self.commit()
        for known in self.known.values():
            if known.where != "held":
                continue
            assert known.deadline > self.now, "not expired in time"
            if self.facts(known.instance) is None:
                assert known.generation is None
                assert known.grace + 100 > self.now, "the grace is over"
            elif known.due <= self.now:
                assert not known.passing, "need not wait"
                free = self.paced_at.get(known.instance, 0) + self.interval(known.instance)
                assert not self.is_online(known.instance) or free > self.now, "could have left"

    @invariant()
    def restart_gives_the_same(self) -> None:
        live = snapshot(self.bench.partition.state)
        other = self.bench.restored()
        try:
            assert snapshot(other.state) == live
        finally:
            other.state.close()


Limiter.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestLimiter = Limiter.TestCase
