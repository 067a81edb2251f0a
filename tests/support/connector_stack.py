"""A connector and a simulated WhatsApp as real processes, on the topics and the registry of `tests.support.streams`.

The tests write what registrar and limiter would write; everything else is the real thing.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import orjson

from core.kafka.codec import Codec
from tests.support.kafka import RunningKafka
from tests.support.streams import PARTITIONS, ROOT, Process, Streams, running_streams
from tests.support.waiting import wait_until

Record = dict[str, Any]
BIN = Path(os.environ.get("WHARF_TEST_BIN", ROOT / "build" / "bin"))


class Simulator:
    """The simulated WhatsApp and its control API."""

    def __init__(self, folder: Path) -> None:
        self._ports = folder / "simulator.json"
        self._log = (folder / "simulator.log").open("ab")
        self._command = [
            str(BIN / "wharf-simulator"),
            "--ports-file",
            str(self._ports),
            "--data",
            str(folder / "simulated"),
        ]
        self.start()

    def start(self) -> None:
        self._process = subprocess.Popen(self._command, stdout=self._log, stderr=self._log)
        wait_until(self._ports.exists, 30, "the simulator tells its addresses")
        self.info: Record = json.loads(self._ports.read_text())
        address = self.info["control_address"]
        self.url = address if address.startswith("http") else f"http://{address}"
        self.http = httpx.Client(base_url=self.url, timeout=30)

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()
        self._log.close()
        self.http.close()

    def call(self, method: str, path: str, **body: Any) -> Any:
        answer = self.http.request(method, path, json=body or None)
        assert answer.is_success, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content else None

    def contact(self, phone: str, name: str = "Contact") -> Record:
        return dict(self.call("POST", "/v1/contacts", phone=phone, name=name))

    def say(self, phone: str, to: str, text: str, **more: Any) -> str:
        return str(self.call("POST", f"/v1/contacts/{phone}/send", to=to, text=text, **more)["id"])

    def flood(self, phone: str, to: str, count: int, prefix: str, rate_per_s: float = 0) -> list[str]:
        return list(
            self.call("POST", f"/v1/contacts/{phone}/flood", to=to, count=count, prefix=prefix, rate_per_s=rate_per_s)[
                "ids"
            ]
        )

    def received(self, *, dedupe: bool = False) -> list[Record]:
        return list(self.call("GET", f"/v1/ledger?dedupe={'true' if dedupe else 'false'}")["received"])


@dataclass
class ConnectorStack:
    streams: Streams
    simulator: Simulator
    folder: Path
    env: dict[str, str]
    generation: int = 1_700_000_000_000
    connectors: list[Process] = field(default_factory=list)

    @property
    def codec(self) -> Codec:
        return self.streams.codec

    # ------------------------------------------------------------------ the connector

    def start(self, faults: Record | None = None, *, wait: bool = True, slot: str = "connector-1") -> Process:
        env = {**self.env, "WHARF_CONNECTOR__SLOT": slot}
        if faults is not None:
            env |= {"WHARF_ALLOW_FAULTS": "1", "WHARF_TEST_FAULTS": json.dumps(faults)}
        process = Process("connectors", env, self.folder / f"{slot}.log")
        self.connectors.append(process)
        if wait:
            process.wait_healthy()
        return process

    @property
    def connector(self) -> Process:
        return self.connectors[-1]

    def host_pid(self) -> int:
        return int(self.connector.health()["checks"]["host"]["detail"].split("pid ")[1].split(",")[0])

    def shown(self, instance_id: str) -> Record:
        rows = [row for row in self.connector.health()["instances"] if row["instance_id"] == instance_id]
        return rows[0] if rows else {}

    def wait_state(self, instance_id: str, state: str, seconds: float = 30) -> Record:
        def reached() -> Record:
            row = self.shown(instance_id)
            return row if row.get("state") == state else {}

        return wait_until(reached, seconds, f"{instance_id} is {state}, log: {self.connector.tail()}")

    # ------------------------------------------------------------------ what registrar and limiter would write

    def instance(self, instance_id: str, desired: str = "online", version: int = 1, **more: Any) -> None:
        record = {
            "instance_id": instance_id,
            "generation": self.generation,
            "version": version,
            "desired": desired,
            "simulated": True,
            "updated_at": self.generation,
            **more,
        }
        self.streams.put("instances", instance_id, self.codec.encode("instances", record))
        self.streams.flush()

    def command(self, kind: str, command_id: str, instance_id: str, *, interval_ms: int = 0, **fields: Any) -> None:
        raw = orjson.dumps({"command_id": command_id, "instance_id": instance_id, "type": kind, **fields})
        admitted = {
            "command_id": command_id,
            "instance_id": instance_id,
            "type": kind,
            "admitted_at": time.time_ns() // 1_000_000,
            "command": raw,
            "decision": {"outcome": "admitted", "interval_ms": interval_ms},
            "origin": {"partition": 0, "offset": 0},
            "body_hash": "",
        }
        self.streams.put("commands.admitted", instance_id, self.codec.encode("commands.admitted", admitted))

    def text(self, command_id: str, instance_id: str, to: str, text: str, **fields: Any) -> None:
        content = {"type": "text", "text": text, **fields.pop("content", {})}
        self.command("send", command_id, instance_id, to=to, content=content, **fields)

    def pair(self, instance_id: str, phone: str) -> str:
        """A paired instance that is online, scanned by a simulated phone. Gives its JID."""
        self.instance(instance_id)
        self.command("pair", f"pair-{instance_id}", instance_id)
        self.streams.flush()
        qr = wait_until(
            lambda: [each["qr"] for each in self.events("pairing", instance_id) if each["qr"]],
            30,
            f"a QR code, log: {self.connector.tail()}",
        )[-1]
        jid = str(self.simulator.call("POST", f"/v1/phones/{phone}/scan", qr=qr)["jid"])
        self.wait_state(instance_id, "online")
        return jid

    # ------------------------------------------------------------------ what is read

    def events(self, topic: str, instance_id: str) -> list[Record]:
        return [each for each in self.streams.records(topic) if each["envelope"]["instance_id"] == instance_id]

    def messages(self, instance_id: str, direction: str = "in") -> list[Record]:
        return [each for each in self.events("events.message", instance_id) if each["direction"] == direction]

    def finals(self) -> dict[str, list[str]]:
        """Final states by command."""
        out: dict[str, list[str]] = {}
        for each in self.streams.records("results"):
            if each["final"]:
                out.setdefault(each["command_id"], []).append(each["state"])
        return out

    def in_counts(self, instance_id: str) -> Counter[str]:
        return Counter(each["key"]["id"] for each in self.messages(instance_id) if each["kind"] == "message.new")

    def ledger_counts(self) -> Counter[str]:
        """Events per message id at the contacts, duplicates not removed."""
        counts: Counter[str] = Counter()
        for row in self.simulator.received():
            counts[row["id"]] += int(row.get("count", 1))
        return counts


@contextmanager
def running_connector_stack(kafka: RunningKafka, prefix: str, folder: Path) -> Iterator[ConnectorStack]:
    """Nothing but topics, registry and simulator runs at first: `start()` starts a connector."""
    with running_streams(kafka, prefix, folder) as streams:
        simulator = Simulator(folder)
        env = {
            **streams.env,
            "WHARF_SIMULATOR__ENABLED": "true",
            "WHARF_SIMULATOR__CONTROL_URL": simulator.url,
            "WHARF_CONNECTOR__HOST_BINARY": str(BIN / "wharf-host"),
        }
        stack = ConnectorStack(streams, simulator, folder, env)
        try:
            yield stack
        finally:
            for process in stack.connectors:
                process.kill()
            simulator.stop()


__all__ = ["PARTITIONS", "ConnectorStack", "Simulator", "running_connector_stack"]
