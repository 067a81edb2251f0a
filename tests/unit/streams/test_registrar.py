"""The registrar against a model: compare-and-set, idempotence, generations, tombstones, restarts; and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from core import ids
from core.errors import CATALOGUE, DBError
from core.kafka.processor import InRecord, OutRecord
from core.telemetry.metrics import Metrics
from core.topics import DAY_MS
from streams.registrar.answers import Answers
from streams.registrar.decide import decide
from streams.registrar.processor import RegistrarProcessor
from streams.registrar.validation import problem_of
from tests.support.limiter import CODEC, T0

PARTITIONS = 4
NAMES = ["alpha", "beta"]


def request(kind: str, instance_id: str | None, request_id: str = "r", **fields: Any) -> dict[str, Any]:
    record = {
        "request_id": request_id,
        "kind": kind,
        "instance_id": instance_id,
        "requested_by": "tester",
        "requested_at": T0,
        **fields,
    }
    return CODEC.decode("control", CODEC.encode("control", record))


def processor(audit: list[tuple[int, bytes]], *, simulator: bool = False) -> RegistrarProcessor:
    return RegistrarProcessor(
        CODEC,
        partitions=PARTITIONS,
        retention_ms=DAY_MS,
        simulator_enabled=simulator,
        audit_tail=lambda partition: [value for number, value in audit if number == partition],
        metrics=Metrics(),
    )


class Registrar(RuleBasedStateMachine):
    """The model keeps the newest record of each name and counts; the registrar is restarted from its own output."""

    def __init__(self) -> None:
        super().__init__()
        self.now = T0
        self.offset = 0
        self.log: list[tuple[int, bytes, bytes | None]] = []
        self.audit: list[tuple[int, bytes]] = []
        self.answered: dict[tuple[str, str], dict[str, Any]] = {}
        self.model: dict[str, dict[str, Any]] = {}
        self.generations: dict[str, list[int]] = {name: [] for name in NAMES}
        self.registrar = self.started()

    def started(self) -> RegistrarProcessor:
        made = processor(self.audit)
        for partition, key, value in self.log:
            made.restore(partition, key, value)
        for partition in range(PARTITIONS):
            made.owned(partition, {("control", partition): self.offset})
        return made

    def ask(self, record: dict[str, Any]) -> dict[str, Any]:
        name = record["instance_id"]
        partition = ids.partition_for(name, PARTITIONS)
        value = CODEC.encode("control", record)
        batch = self.registrar.collect(
            [InRecord("control", partition, self.offset, self.now, name.encode(), value)], self.now
        )
        self.offset += 1
        self.keep(batch[partition].records, partition)
        assert batch[partition].positions == {("control", partition): self.offset}
        (answer,) = [CODEC.decode("audit", r.value) for r in batch[partition].records if r.topic == "audit"]
        return answer

    def keep(self, records: list[OutRecord], partition: int) -> None:
        for record in records:
            if record.topic == "instances":
                self.log.append((partition, record.key or b"", record.value))
                name = (record.key or b"").decode()
                if record.value is None:
                    buried = self.model.pop(name)
                    assert buried["desired"] == "deleted"
                    assert buried["updated_at"] + DAY_MS <= self.now, "buried too early"
                else:
                    written = CODEC.decode("instances", record.value)
                    former = self.model.get(name)
                    assert written["version"] == (1 if former is None else former["version"] + 1)
                    if former is None or former["generation"] != written["generation"]:
                        assert all(written["generation"] > known for known in self.generations[name])
                        self.generations[name].append(written["generation"])
                    self.model[name] = written
            elif record.topic == "audit":
                self.audit.append((partition, record.value or b""))

    @rule(
        name=st.sampled_from(NAMES),
        kind=st.sampled_from(["instance_create", "instance_change", "instance_delete"]),
        expected=st.sampled_from([None, None, 0, 1, 2, 3]),
        label=st.sampled_from(["one", "two"]),
        number=st.integers(0, 30),
    )
    def control(self, name: str, kind: str, expected: int | None, label: str, number: int) -> None:
        request_id = f"r{number}"
        body = None if kind == "instance_delete" else {"label": label}
        record = request(kind, name, request_id, expected_version=expected, body=body)
        former = self.model.get(name)
        version = former["version"] if former else None
        exists = former is not None and former["desired"] != "deleted"
        answer = self.ask(record)
        key = (name, request_id)
        if key in self.answered:
            assert self.model.get(name) == former, "a repeated request changes nothing"
            if self.answered[key]["kind"] == kind:
                assert answer == self.answered[key]
            else:
                assert answer["error"]["code"] == "api.idempotency_mismatch"
            return
        self.answered[key] = answer
        if expected is not None and expected != (version or 0):
            assert answer["error"]["code"] == "api.conflict"
            assert self.model.get(name) == former
        elif (kind == "instance_create") == exists:
            assert answer["error"]["code"] == ("api.conflict" if exists else "api.not_found")
            assert self.model.get(name) == former
        else:
            assert answer["outcome"] == "accepted"
            now = self.model[name]
            assert answer["version"] == now["version"]
            assert now["desired"] == ("deleted" if kind == "instance_delete" else "online")
            if kind != "instance_delete":
                assert now["label"] == label

    @rule(ms=st.sampled_from([0, 1, 1_000, DAY_MS - 1, DAY_MS]))
    def time_passes(self, ms: int) -> None:
        self.now += ms
        for partition, work in self.registrar.collect([], self.now).items():
            assert work.positions == {}
            self.keep(work.records, partition)

    @rule()
    def restart(self) -> None:
        self.registrar = self.started()

    @invariant()
    def tombstones_come_in_time(self) -> None:
        self.time_passes(0)
        for instance in self.model.values():
            assert instance["desired"] != "deleted" or instance["updated_at"] + DAY_MS > self.now


Registrar.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestRegistrarMachine = Registrar.TestCase


@pytest.mark.parametrize(
    ("record", "field"),
    [
        (request("unknown", "a"), "kind"),
        (request("instance_create", "a", requested_by=""), "requested_by"),
        (request("instance_create", "a", expected_version=-1), "expected_version"),
        (request("instance_delete", "a", body={"label": "x"}), "body"),
        (request("instance_create", "a", body={"desired": "unknown"}), "body.desired"),
        (request("instance_create", "a", body={"driver": "other"}), "body.driver"),
        (request("instance_create", "a", body={"tier": "gold"}), "body.tier"),
        (request("instance_create", "a", body={"proxy": "http://"}), "body.proxy"),
        (request("instance_create", "a", body={"proxy": "http://host:99999"}), "body.proxy"),
        (request("instance_create", "a", body={"tenant": ""}), "body.tenant"),
        (request("instance_create", "a", body={"label": "x" * 129}), "body.label"),
        (request("instance_create", "a", body={"limits": {"mode": "unknown", "overrides": {}}}), "body.limits.mode"),
        (
            request("instance_create", "a", body={"limits": {"mode": "off", "overrides": {"a": "1"}}}),
            "body.limits.overrides",
        ),
        (
            request("instance_create", "a", body={"limits": {"mode": "custom", "overrides": {}}}),
            "body.limits.overrides",
        ),
        (
            request("instance_create", "a", body={"limits": {"mode": "custom", "overrides": {"interval_ms": "-1"}}}),
            "body.limits.overrides.interval_ms",
        ),
        (request("instance_create", "a", body={"settings": {"keep_raw": "yes"}}), "body.settings.keep_raw"),
        (request("instance_create", "a", body={"simulated": True}), "body.simulated"),
    ],
)
def test_the_wrong_field_is_named(record: dict[str, Any], field: str) -> None:
    problem = problem_of(record, simulator_enabled=False)
    assert problem is not None
    assert problem.field == field
    assert problem.code in CATALOGUE


def test_a_proxy_is_set_and_removed() -> None:
    body = {"proxy": "socks5://user:word@host:1080", "label": "L"}
    created = decide(None, request("instance_create", "a", body=body), T0, simulator_enabled=False).instance
    assert created is not None
    assert created["proxy"] == "socks5://user:word@host:1080"
    changed = decide(created, request("instance_change", "a", body={"proxy": ""}), T0, simulator_enabled=False).instance
    assert changed is not None
    assert (changed["proxy"], changed["label"], changed["version"]) == (None, "L", 2)


def test_a_change_that_changes_nothing_writes_nothing() -> None:
    created = decide(None, request("instance_create", "a", body={"label": "L"}), T0, simulator_enabled=False).instance
    decision = decide(created, request("instance_change", "a", body={"label": "L"}), T0 + 5, simulator_enabled=False)
    assert (decision.accepted, decision.instance, decision.version) == (True, None, 1)
    empty = decide(created, request("instance_change", "a"), T0, simulator_enabled=False)
    assert empty.problem is not None
    assert empty.problem.field == "body"


def test_what_makes_an_instance_cannot_be_changed() -> None:
    created = decide(None, request("instance_create", "a", body={"tenant": "t"}), T0, simulator_enabled=True).instance
    for name, value in (("tenant", "other"), ("simulated", True)):
        decision = decide(created, request("instance_change", "a", body={name: value}), T0, simulator_enabled=True)
        assert decision.problem is not None
        assert decision.problem.field == f"body.{name}"
    same = decide(created, request("instance_change", "a", body={"tenant": "t"}), T0, simulator_enabled=True)
    assert same.accepted


def test_a_clock_set_back_gives_no_generation_twice() -> None:
    first = decide(None, request("instance_create", "a"), T0, simulator_enabled=False).instance
    assert first is not None
    gone = decide(first, request("instance_delete", "a"), T0, simulator_enabled=False).instance
    second = decide(gone, request("instance_create", "a"), T0 - 1_000, simulator_enabled=False).instance
    assert second is not None
    assert (second["generation"], second["version"]) == (T0 + 1, 3)


def test_a_name_deleted_twice_is_buried_after_the_second_time() -> None:
    made = processor([])
    partition = ids.partition_for("a", PARTITIONS)
    made.owned(partition, {("control", partition): 0})
    times = {
        T0: "instance_create",
        T0 + 1: "instance_delete",
        T0 + 1_000: "instance_create",
        T0 + 2_000: "instance_delete",
    }
    for offset, (at, kind) in enumerate(times.items()):
        value = CODEC.encode("control", request(kind, "a", f"r{offset}"))
        made.collect([InRecord("control", partition, offset, at, b"a", value)], at)
    assert made.collect([], T0 + 1 + DAY_MS) == {}
    (tombstone,) = made.collect([], T0 + 2_000 + DAY_MS)[partition].records
    assert (tombstone.topic, tombstone.key, tombstone.value) == ("instances", b"a", None)


def test_requests_without_a_usable_name_are_answered_where_they_stood() -> None:
    made = processor([])
    made.owned(1, {("control", 1): 0})
    value = CODEC.encode("control", request("instance_create", None))
    batch = made.collect([InRecord("control", 1, 0, T0, b"k", value)], T0)
    (record,) = batch[1].records
    audit = CODEC.decode("audit", record.value)
    assert (record.topic, record.partition) == ("audit", 1)
    assert (audit["outcome"], audit["error"]["field"]) == ("rejected", "instance_id")


def test_answers_are_bounded_and_the_first_stays() -> None:
    answers = Answers(limit=2)
    for n, request_id in enumerate(["a", "a", "b", "c"]):
        answers.add({"subject": "i", "request_id": request_id, "kind": "k"}, b"%d" % n)
    assert len(answers) == 2
    assert answers.get("i", "a") is None
    found = answers.get("i", "b")
    assert found is not None
    assert found.value == b"2"


def test_unreadable_state_stops_the_start() -> None:
    with pytest.raises(DBError) as caught:
        processor([]).restore(0, b"a", b"rubbish")
    assert caught.value.code == "db.state_corrupt"


def test_answers_of_somebody_else_are_passed_over() -> None:
    made = processor([(0, b"rubbish")])
    made.owned(0, {("control", 0): 0})
    assert made.collect([], T0) == {}
