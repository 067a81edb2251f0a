"""The embedded registry on a real Kafka, used by Confluent's own client."""

from __future__ import annotations

import copy
import json
import signal
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer, AvroSerializer
from confluent_kafka.schema_registry.error import SchemaRegistryError
from confluent_kafka.serialization import MessageField, SerializationContext

from core.errors import DBError, PoisonError, SettingsError
from core.kafka.codec import Codec
from core.kafka.registry_client import RegistryClient
from core.settings import RegistrySettings
from schemas.apply import Outcome, apply, check
from schemas.catalogue import catalogue
from schemas.codec import open_codec
from tests.support.kafka import RunningKafka
from tests.support.registry import RunningRegistry, running_registry
from tests.support.waiting import wait_until


@pytest.fixture(scope="module")
def registry(kafka: RunningKafka, prefix: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningRegistry]:
    with running_registry(kafka.bootstrap, f"{prefix}_schemas", tmp_path_factory.mktemp("registry")) as running:
        yield running


@pytest.fixture
def client(registry: RunningRegistry) -> Iterator[SchemaRegistryClient]:
    with SchemaRegistryClient({"url": registry.url}) as made:
        yield made


def schema(*fields: str, **required: str) -> Schema:
    listed: list[dict[str, Any]] = [{"name": f, "type": ["null", "string"], "default": None} for f in fields]
    listed += [{"name": name, "type": kind} for name, kind in required.items()]
    return Schema(json.dumps({"type": "record", "name": "R", "fields": listed}), "AVRO")


def code(caught: pytest.ExceptionInfo[SchemaRegistryError]) -> tuple[int, int]:
    return caught.value.http_status_code, caught.value.error_code


def test_confluents_client_registers_and_reads(client: SchemaRegistryClient) -> None:
    schema_id = client.register_schema("read-value", schema("x"))
    assert client.register_schema("read-value", schema("x", "y")) == schema_id + 1
    assert "read-value" in client.get_subjects()
    assert client.get_versions("read-value") == [1, 2]
    latest = client.get_latest_version("read-value")
    assert (latest.version, latest.schema_id, latest.subject) == (2, schema_id + 1, "read-value")
    assert client.get_version("read-value", 1).schema_id == schema_id
    assert json.loads(client.get_schema(schema_id).schema_str or "")["name"] == "R"
    assert client.lookup_schema("read-value", schema("x")).version == 1
    assert client.get_schema_types() == ["AVRO"]
    assert client.get_subjects_by_schema_id(schema_id) == ["read-value"]
    assert [(v.subject, v.version) for v in client.get_schema_versions(schema_id)] == [("read-value", 1)]
    assert client.get_global_mode() == "READWRITE"


def test_compatibility_levels_by_confluents_client(client: SchemaRegistryClient) -> None:
    client.register_schema("levels-value", schema("x"))
    with pytest.raises(SchemaRegistryError) as caught:
        client.get_compatibility("levels-value")
    assert code(caught) == (404, 40408)
    client.set_compatibility("levels-value", "FULL_TRANSITIVE")
    assert client.get_compatibility("levels-value") == "FULL_TRANSITIVE"
    assert client.test_compatibility("levels-value", schema("x", "y"))
    assert not client.test_compatibility("levels-value", schema("x", z="int"))
    with pytest.raises(SchemaRegistryError, match="z: has no default") as caught:
        client.register_schema("levels-value", schema("x", z="int"))
    assert code(caught) == (409, 409)
    client.set_compatibility("levels-value", "NONE")
    assert client.register_schema("levels-value", schema("x", z="int")) > 0


def test_deletion_by_confluents_client(client: SchemaRegistryClient) -> None:
    schema_id = client.register_schema("gone-value", schema("x"))
    client.register_schema("gone-value", schema("x", "y"))
    assert client.delete_version("gone-value", 2) == 2
    assert client.get_versions("gone-value") == [1]
    with pytest.raises(SchemaRegistryError) as caught:
        client.delete_subject("gone-value", permanent=True)
    assert code(caught) == (404, 40405)
    assert client.delete_subject("gone-value") == [1]
    assert "gone-value" not in client.get_subjects()
    assert "gone-value" in client.get_subjects(deleted=True)
    with pytest.raises(SchemaRegistryError) as caught:
        client.get_latest_version("gone-value")
    assert code(caught) == (404, 40401)
    client.clear_caches()  # type: ignore[no-untyped-call]
    assert client.get_schema(schema_id).schema_str, "a soft-deleted text stays readable by id"
    assert sorted(client.delete_subject("gone-value", permanent=True)) == [1, 2]
    assert "gone-value" not in client.get_subjects(deleted=True)


def test_invalid_requests_have_confluents_numbers(registry: RunningRegistry, client: SchemaRegistryClient) -> None:
    with pytest.raises(SchemaRegistryError) as caught:
        client.register_schema("bad-value", Schema('{"type":"strin"}', "AVRO"))
    assert code(caught) == (422, 42201)
    for path, status, number in [
        ("/subjects/none/versions", 404, 40401),
        ("/subjects/none/versions/0", 422, 42202),
        ("/schemas/ids/99999", 404, 40403),
        ("/no/such/path", 404, 404),
    ]:
        answer = httpx.get(registry.url + path)
        assert (answer.status_code, answer.json()["error_code"]) == (status, number), path
    assert httpx.get(registry.url + "/").json() == {}
    assert httpx.post(f"{registry.url}/subjects/x/versions", content=b"{").status_code == 400


def test_a_restart_restores_everything_also_after_a_kill(
    registry: RunningRegistry, client: SchemaRegistryClient
) -> None:
    schema_id = client.register_schema("restart-value", schema("x"))
    client.set_compatibility("restart-value", "FORWARD")
    before = [httpx.get(f"{registry.url}{path}").json() for path in ("/schemas?deleted=true", "/config/restart-value")]
    for number, exit_code in ((signal.SIGTERM, 0), (signal.SIGKILL, -signal.SIGKILL)):
        assert registry.stop(number) == exit_code
        registry.start()
        after = [
            httpx.get(f"{registry.url}{path}").json() for path in ("/schemas?deleted=true", "/config/restart-value")
        ]
        assert after == before
    assert client.register_schema("restart-value", schema("x")) == schema_id
    assert client.register_schema("other-value", schema("q")) > schema_id


def test_without_kafka_it_waits_and_says_so(
    registry: RunningRegistry, prefix: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    lonely = RunningRegistry("127.0.0.1:1", f"{prefix}lonely", tmp_path_factory.mktemp("lonely") / "log")
    lonely.start(wait=False)
    try:
        wait_until(lambda: lonely.health() == 503, 20, "the lonely registry answers")
        wait_until(lambda: "waiting for Kafka" in httpx.get(f"{lonely.url}/healthz").text, 20, "it says why")
        answer = httpx.get(f"{lonely.url}/subjects")
        assert (answer.status_code, answer.json()["error_code"]) == (503, 50001)
    finally:
        assert lonely.stop() == 0


# ------------------------------------------------------------------------------------------------- our own use
def test_apply_then_check_then_confluents_serializer(
    kafka: RunningKafka, registry: RunningRegistry, client: SchemaRegistryClient
) -> None:
    settings = kafka.settings("apply.", registry=RegistrySettings(url=registry.url))
    assert {report.outcome for report in check(settings)} == {Outcome.NEW}
    assert all(report.schema_id for report in apply(settings))
    assert {report.outcome for report in check(settings)} == {Outcome.REGISTERED}
    assert {report.outcome for report in apply(settings)} == {Outcome.REGISTERED}, "applying again changes nothing"
    assert client.get_compatibility("apply.commands-value") == "FULL_TRANSITIVE"

    codec = open_codec(settings)
    codec.prepare(*catalogue().by_topic)
    text = client.get_latest_version("apply.commands-value").schema.schema_str
    serialize = AvroSerializer(client, text, conf={"auto.register.schemas": False, "use.latest.version": True})
    deserialize = AvroDeserializer(client)
    context = SerializationContext("apply.commands", MessageField.VALUE)
    command = {
        "command_id": "c",
        "instance_id": "i",
        "type": "send",
        "to": "+491",
        "content": {"type": "text", "text": "é"},
    }
    theirs = serialize(command, context)
    assert theirs == codec.encode("commands", command)
    ours = codec.decode_command(theirs)
    assert ours == codec.decode_command(json.dumps(command).encode())
    assert deserialize(codec.encode("commands", ours), context) == ours


def test_check_tells_field_by_field_what_would_be_refused(
    kafka: RunningKafka, registry: RunningRegistry, client: SchemaRegistryClient
) -> None:
    settings = kafka.settings("refused.", registry=RegistrySettings(url=registry.url))
    earlier = copy.deepcopy(catalogue().by_topic["control"])
    earlier["fields"] = [f for f in earlier["fields"] if f["name"] != "requested_by"]
    client.register_schema("refused.control-value", Schema(json.dumps(earlier), "AVRO"))
    for reports in (check(settings), apply(settings)):
        (refused,) = [report for report in reports if report.outcome is Outcome.REFUSED]
        assert refused.subject == "refused.control-value"
        (reason,) = refused.reasons
        assert reason == (
            "version 1, new schema reading old data: requested_by: has no default and is missing in what was written "
            "(READER_FIELD_MISSING_DEFAULT_VALUE)"
        )
    assert "refused.commands-value" not in client.get_subjects(), "nothing is registered when one is refused"


def test_a_missing_registration_stops_the_start_with_the_next_step(
    kafka: RunningKafka, registry: RunningRegistry
) -> None:
    settings = kafka.settings("never.", registry=RegistrySettings(url=registry.url))
    with pytest.raises(SettingsError, match="wharf schemas apply"):
        open_codec(settings).prepare("commands")


def test_the_codec_waits_for_the_registry_and_goes_on(kafka: RunningKafka, registry: RunningRegistry) -> None:
    settings = kafka.settings("waits.", registry=RegistrySettings(url=registry.url))
    apply(settings)
    payload = open_codec(settings).encode("commands", {"command_id": "c", "instance_id": "i", "type": "send"})
    registry.stop(signal.SIGKILL)
    states: list[str | None] = []
    decoded: list[dict[str, Any]] = []
    codec = open_codec(settings, on_state=states.append)
    worker = threading.Thread(target=lambda: decoded.append(codec.decode("commands", payload)))
    worker.start()
    wait_until(lambda: len(states) >= 2, 20, "the codec says that it waits")
    assert decoded == []
    assert registry.url in (states[0] or "")
    registry.start()
    worker.join(20)
    assert [record["command_id"] for record in decoded] == ["c"]
    assert states[-1] is None
    with pytest.raises(PoisonError):
        codec.decode("commands", b"\0\x7f\xff\xff\xffx")


def test_a_stop_ends_the_wait(kafka: RunningKafka) -> None:
    stop = threading.Event()
    codec = Codec(RegistryClient("http://127.0.0.1:1", stop=stop, on_state=lambda _: stop.set()), catalogue().by_topic)
    with pytest.raises(DBError, match="stopped while waiting"):
        codec.encode("commands", {})
