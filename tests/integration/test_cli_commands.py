"""`wharf` against a real Kafka, registry and registrar; a thread answers commands in the connector's place."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer

from compose.cli.cluster import Cluster
from core.kafka import topic_admin
from core.settings import RegistrySettings, Settings
from schemas import apply as deploy
from tests.support.kafka import RunningKafka
from tests.support.registry import ROOT, running_registry
from tests.support.waiting import wait_until

SECONDS = 60


@dataclass(frozen=True, slots=True)
class Wharf:
    """The command as a process of its own, as people start it."""

    settings: Settings
    env: dict[str, str]
    folder: Path

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "compose.cli", *words]
        return subprocess.run(command, env=self.env, cwd=self.folder, capture_output=True, text=True, timeout=SECONDS)

    def good(self, *words: str) -> str:
        done = self.run(*words)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def json(self, *words: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.good(*words, "--json").splitlines()]


@pytest.fixture(scope="module")
def wharf(kafka: RunningKafka, prefix: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wharf]:
    folder = tmp_path_factory.mktemp("cli")
    with running_registry(kafka.bootstrap, f"{prefix}_schemas", folder) as registry:
        settings = kafka.settings(prefix, registry=RegistrySettings(url=registry.url))
        env = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "WHARF_KAFKA__BOOTSTRAP": kafka.bootstrap,
            "WHARF_KAFKA__PREFIX": prefix,
            "WHARF_REGISTRY__URL": registry.url,
            "WHARF_DATA_DIR": str(folder / "data"),
        }
        yield Wharf(settings, env, folder)


@pytest.fixture(scope="module")
def deployed(wharf: Wharf) -> Wharf:
    topic_admin.apply(wharf.settings)
    deploy.apply(wharf.settings)
    return wharf


@pytest.fixture(scope="module")
def registrar(deployed: Wharf) -> Iterator[Wharf]:
    log = deployed.folder / "registrar.log"
    with log.open("wb") as out:
        command = [sys.executable, "-m", "streams.registrar"]
        process = subprocess.Popen(command, env=deployed.env, cwd=deployed.folder, stdout=out, stderr=out)
    try:
        wait_until(lambda: b"claimed" in log.read_bytes(), SECONDS, f"registrar claims its partitions (log {log})")
        yield deployed
    finally:
        process.terminate()
        process.wait(30)


class Answers:
    """Reads commands of one instance and produces what the connector would: `say` gets the command and a producer."""

    def __init__(self, wharf: Wharf, instance: str, say: Callable[[dict[str, Any], Callable[..., None]], None]) -> None:
        self._cluster = Cluster(wharf.settings)
        self._instance = instance
        self._say = say
        self.commands: list[dict[str, Any]] = []
        self._standing = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Answers:
        self._thread.start()
        assert self._standing.wait(SECONDS)
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join(SECONDS)
        assert not self._thread.is_alive(), "the command came"

    def _run(self) -> None:
        for seen in self._cluster.ask(["commands"], self._standing.set, SECONDS):
            if seen.instance == self._instance:
                self.commands.append(seen.value)
                self._say(seen.value, lambda topic, record: self._cluster.produce(topic, self._instance, record))
                return


def result(command: dict[str, Any], state: str, *, final: bool = True, **fields: Any) -> dict[str, Any]:
    ids = {name: command[name] for name in ("instance_id", "command_id", "type")}
    return {"result_id": "r", "revision": 1, "final": final, "state": state, "occurred_at": 1, **ids, **fields}


def envelope(command: dict[str, Any]) -> dict[str, Any]:
    times = {"occurred_at": 1, "received_at": 1}
    return {"event_id": "e", "instance_id": command["instance_id"], "generation": 1, "simulated": True, **times}


# ------------------------------------------------------------------------------------------------- topics, schemas
def test_topics_and_schemas_are_applied_once(kafka: RunningKafka, wharf: Wharf) -> None:
    other = Wharf(
        wharf.settings, {**wharf.env, "WHARF_KAFKA__PREFIX": f"{wharf.settings.kafka.prefix}fresh."}, wharf.folder
    )
    assert other.run("topics", "diff").returncode == 1
    created = other.json("topics", "apply")
    assert {change["kind"] for change in created} <= {"create", "alter"}
    assert len([change for change in created if "fresh." in change["topic"]]) > 10
    assert other.run("topics", "diff").returncode == 0
    assert {report["outcome"] for report in other.json("schemas", "check")} == {"new"}
    other.good("schemas", "apply")
    assert {report["outcome"] for report in other.json("schemas", "check")} == {"registered"}
    more = {**other.env, "WHARF_KAFKA__PARTITIONS": "9"}
    refused = Wharf(wharf.settings, more, wharf.folder).run("topics", "apply")
    assert refused.returncode == 1
    assert "A partition count is never changed" in refused.stderr


# ------------------------------------------------------------------------------------------------- instances
def test_instances_are_added_listed_shown_and_removed(registrar: Wharf) -> None:
    said = registrar.good("instances", "add", "sales-1", "--label", "Sales", "--set", "device_name=desk")
    assert "wharf instances pair sales-1" in said
    (listed,) = registrar.json("instances", "list")
    assert (listed["instance_id"], listed["label"], listed["desired"]) == ("sales-1", "Sales", "online")
    assert listed["settings"] == {"device_name": "desk"}
    assert "sales-1" in registrar.good("instances", "list")
    assert "device_name" in registrar.good("instances", "show", "sales-1")
    twice = registrar.run("instances", "add", "sales-1")
    assert (twice.returncode, twice.stdout) == (1, "")
    assert "api.conflict" in twice.stderr
    bad = registrar.run("instances", "add", "Not A Slug", "--json")
    assert json.loads(bad.stderr)["code"] == "api.validation"
    (answer,) = registrar.json("instances", "remove", "sales-1", "--yes")
    assert answer["outcome"] == "accepted"
    assert registrar.json("instances", "list") == []
    assert "there is no instance sales-1" in registrar.run("instances", "show", "sales-1").stderr


# ------------------------------------------------------------------------------------------------- send
def test_send_prints_its_id_and_produces_one_command(deployed: Wharf) -> None:
    words = [
        "send",
        "plain-1",
        "+49 151 23456789",
        "Hello @1",
        "--id",
        "order-1",
        "--quote",
        "Q1",
        "--mention",
        "1@lid",
    ]
    words.append("--mention-all")
    assert deployed.good(*words) == "order-1\n"
    (command,) = deployed.json("tail", "commands", "--instance", "plain-1", "--from", "beginning", "--no-follow")
    assert (command["to"], command["command_id"], command["type"]) == (
        "4915123456789@s.whatsapp.net",
        "order-1",
        "send",
    )
    context = command["content"]["context"]
    assert context["quoted"]["key"]["id"] == "Q1"
    assert context["quoted"]["key"]["chat"] == "4915123456789@s.whatsapp.net"
    assert (context["mentions"], context["mention_all"]) == (["1@lid"], True)


def test_send_wait_follows_to_the_final_result(deployed: Wharf) -> None:
    def say(command: dict[str, Any], produce: Callable[..., None]) -> None:
        produce("results", result({**command, "command_id": "another"}, "failed"))
        produce("results", result(command, "queued", final=False))
        produce("results", result(command, "sent", message_id="3EB0", chat="1@lid"))

    with Answers(deployed, "wait-1", say):
        lines = deployed.json("send", "wait-1", "1@lid", "Hi", "--wait", "--id", "w-1")
    assert [(line["state"], line["final"]) for line in lines] == [("queued", False), ("sent", True)]


def test_send_wait_fails_with_the_results_error(deployed: Wharf) -> None:
    def say(command: dict[str, Any], produce: Callable[..., None]) -> None:
        error = {"code": "wa.not_on_whatsapp", "message": "no account", "field": "to"}
        produce("results", result(command, "failed", error=error))

    with Answers(deployed, "wait-2", say):
        done = deployed.run("send", "wait-2", "+4915123456789", "Hi", "--wait")
    assert done.returncode == 1
    assert done.stderr == "error: failed: no account [wa.not_on_whatsapp]; final: do not retry\n"


def test_send_wait_gives_up_and_says_where_to_look(deployed: Wharf) -> None:
    done = deployed.run("send", "nobody-1", "+4915123456789", "Hi", "--wait", "--timeout", "0.5", "--id", "lost-1")
    assert done.returncode == 1
    assert "no final result for lost-1 within 0.5 s; `wharf tail results --instance nobody-1`" in done.stderr


# ------------------------------------------------------------------------------------------------- pair
def test_pair_follows_the_codes_until_the_phone_is_paired(deployed: Wharf) -> None:
    def say(command: dict[str, Any], produce: Callable[..., None]) -> None:
        for number in (1, 2):
            code = {"envelope": envelope(command), "qr": f"2@code-{number}", "index": number, "total": 6}
            produce("pairing", {**code, "command_id": command["command_id"]})
        produce("results", result(command, "done"))

    with Answers(deployed, "pair-1", say) as answers:
        codes = deployed.json("instances", "pair", "pair-1")
    assert [(code["qr"], code["index"]) for code in codes] == [("2@code-1", 1), ("2@code-2", 2)]
    assert answers.commands[0]["pairing"] == {"method": "qr", "phone": None}


def test_pair_by_code_asks_for_that_phone(deployed: Wharf) -> None:
    def say(command: dict[str, Any], produce: Callable[..., None]) -> None:
        code = {"envelope": envelope(command), "code": "ABCD1234", "command_id": command["command_id"]}
        produce("pairing", code)
        produce("results", result(command, "done"))

    with Answers(deployed, "pair-2", say) as answers:
        said = deployed.good("instances", "pair", "pair-2", "--code", "+49 151 23456789")
    assert said.startswith("ABCD1234\npair-2 is paired")
    assert answers.commands[0]["pairing"] == {"method": "code", "phone": "4915123456789"}


# ------------------------------------------------------------------------------------------------- tail, dead letters
def test_tail_tells_what_cannot_be_decoded_and_goes_on(deployed: Wharf, kafka: RunningKafka) -> None:
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "partitioner": "murmur2_random"})
    for value in (b"garbage", b'{"command_id":"j-1","instance_id":"odd-1","type":"send"}'):
        producer.produce(f"{deployed.settings.kafka.prefix}commands", key=b"odd-1", value=value)
    assert producer.flush(10) == 0
    first, second = deployed.json("tail", "commands", "-i", "odd-1", "--from", "beginning", "--no-follow")
    assert first["_record"]["error"]["code"] == "api.validation"
    assert second["command_id"] == "j-1"
    (limited,) = deployed.json("tail", "commands", "-i", "odd-1", "--from", "10m", "-n", "1")
    assert limited == first


def test_dead_letters_are_listed_and_shown(deployed: Wharf) -> None:
    letter = {
        "origin_topic": "commands", "partition": 1, "offset": 2, "timestamp": 3, "key": b"dead-1", "value": b"gar\x00bage",
        "code": "api.validation", "message": "not in the wire format", "process": "limiter", "at": 4,
    }  # fmt: skip
    Cluster(deployed.settings).produce("deadletter", "dead-1", letter)
    (listed,) = deployed.json("deadletters", "list", "--instance", "dead-1")
    place = f"{listed['_record']['partition']}:{listed['_record']['offset']}"
    assert place in deployed.good("deadletters", "list")
    shown = deployed.good("deadletters", "show", place)
    assert "commands[1]@2" in shown
    assert "hex 6761720062616765" in shown
    assert json.loads(deployed.good("deadletters", "show", place, "--json"))["message"] == "not in the wire format"
    assert deployed.run("deadletters", "show", "0:999999").returncode == 1
