"""The commands of docs/messages.md, as they stand, through the whole stack; and pairing by code from the command line."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from compose.demo.system import Follower
from core.kafka.clients import KafkaClients
from tests.support.stack import LiveStack
from tests.support.waiting import wait_until

pytestmark = pytest.mark.timeout(180)
ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "messages.md").read_text()
EXAMPLES = {json.loads(each)["command_id"]: each for each in re.findall(r"```json\n(.*?)\n```", PAGE, re.DOTALL)}
INSTANCE, PHONE, CONTACT = "sales-1", "4915123456700", "4915123456789"
Record = dict[str, Any]


class Page:
    """Runs the page's commands and sees their results."""

    def __init__(self, stack: LiveStack, follower: Follower) -> None:
        self.stack = stack
        self._follower = follower
        self._producer = KafkaClients(stack.settings.kafka, "examples").producer()
        self._seen: list[tuple[str, Record]] = []

    def produce(self, text: str) -> None:
        self._producer.produce(
            f"{self.stack.settings.kafka.prefix}commands", value=text.encode(), key=INSTANCE.encode()
        )
        assert self._producer.flush(30) == 0

    def wait(self, topic: str, wanted: Callable[[Record], bool], what: str) -> Record:
        def found() -> Record:
            self._seen += [(each.topic, each.record) for each in self._follower.poll(0.2)]
            return next((record for name, record in self._seen if name == topic and wanted(record)), {})

        return wait_until(found, 60, what)

    def run(self, command_id: str, **written: str) -> Record:
        """The final result of an example; `written` are words of it that stand for something else."""
        example = EXAMPLES[command_id]
        for word, meant in written.items():
            assert word in example
            example = example.replace(word, meant)
        self.produce(example)
        return self.final(command_id)

    def final(self, command_id: str) -> Record:
        return self.wait("results", lambda each: each["command_id"] == command_id and each["final"], command_id)

    def received(self, message_id: str) -> Record:
        def row() -> Record:
            rows = self.stack.simulator.ledger()["received"]
            return next((each for each in rows if each["id"] == message_id), {})

        return wait_until(row, 30, f"{message_id} is with the contact")


def _enter(stack: LiveStack, code: str) -> None:
    httpx.post(
        f"{stack.settings.simulator.control_url}/v1/phones/{PHONE}/code", json={"code": code}, timeout=30
    ).raise_for_status()


def _wharf(stack: LiveStack, *arguments: str) -> subprocess.Popen[str]:
    settings = stack.settings
    env = {
        **os.environ,
        "WHARF_KAFKA__BOOTSTRAP": settings.kafka.bootstrap,
        "WHARF_REGISTRY__URL": settings.registry.url,
        "WHARF_DATA_DIR": str(settings.data_dir),
    }
    wharf = str(Path(sys.executable).parent / "wharf")
    return subprocess.Popen(
        [wharf, *arguments], env=env, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


@pytest.fixture(scope="module")
def page(stack: LiveStack) -> Iterator[Page]:
    with _wharf(stack, "instances", "add", INSTANCE, "--label", "Sales", "--simulated") as added:
        said, _ = added.communicate(timeout=60)
        assert added.returncode == 0, said
    stack.simulator.add_contact(CONTACT, "Ann")
    with stack.system.follow("results", "pairing", from_beginning=True) as follower:
        yield Page(stack, follower)


def test_every_example_is_run() -> None:
    text = Path(__file__).read_text()
    assert [command_id for command_id in EXAMPLES if f'"{command_id}"' not in text] == []


def test_pairing_by_code(page: Page) -> None:
    page.produce(EXAMPLES["pair-1"])
    shown = page.wait("pairing", lambda each: each["command_id"] == "pair-1" and each["code"], "a code")
    _enter(page.stack, shown["code"])
    assert page.final("pair-1")["state"] == "done"


def test_messages(page: Page) -> None:
    for message_id in ("3EB0C0FFEE", "3EB0C0FFEF"):
        page.stack.simulator.send(CONTACT, PHONE, "Is it?", id=message_id)
    first = page.run("order-1001")
    assert first["metadata"] == {"order": "1001"}
    message_id = first["message_id"]
    assert page.received(message_id)["details"]["title"] == "Order 1001"
    answer = page.received(page.run("order-1002")["message_id"])
    assert (answer["quoted_id"], answer["details"]["mentions"]) == ("3EB0C0FFEE", [f"{CONTACT}@s.whatsapp.net"])
    for command_id, kind, target in (
        ("order-1001-thanks", "reaction", "3EB0C0FFEE"),
        ("order-1001-no-thanks", "reaction", "3EB0C0FFEE"),
        ("order-1001-edit", "message_edit", message_id),
        ("order-1001-delete", "revoke", message_id),
    ):
        written = {"MESSAGE_ID": message_id} if target == message_id else {}
        row = page.received(page.run(command_id, **written)["message_id"])
        assert (row["kind"], row["target_id"]) == (kind, target)


@pytest.mark.parametrize("command_id", ["read-1", "typing-1", "presence-1", "presence-2"])
def test_what_is_shown_for_a_moment(page: Page, command_id: str) -> None:
    assert page.run(command_id)["state"] == "done"


def test_cancel(page: Page) -> None:
    tomorrow = time.time_ns() // 1_000_000 + 3_600_000
    waiting = {
        "command_id": "order-1003",
        "instance_id": INSTANCE,
        "type": "send",
        "to": CONTACT,
        "content": {"type": "text", "text": "later"},
        "not_before": tomorrow,
    }
    page.produce(json.dumps(waiting))
    page.wait("results", lambda each: each["command_id"] == "order-1003", "it waits")
    assert page.run("cancel-1")["state"] == "done"
    assert page.final("order-1003")["state"] == "cancelled"


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"text": "nobody", "context": {"mentions": [CONTACT]}}, "content.context.mentions[0]"),
        ({"text": "no link", "preview": {"url": "example.org"}}, "content.preview.url"),
        ({"text": "x.org", "preview": {"url": "x.org", "type": "film"}}, "content.preview.type"),
    ],
)
def test_what_is_not_in_the_text_is_told_with_its_field(page: Page, changed: Record, field: str) -> None:
    command = {"command_id": f"wrong {field}", "instance_id": INSTANCE, "type": "send", "to": CONTACT}
    page.produce(json.dumps({**command, "content": {"type": "text", **changed}}))
    final = page.final(f"wrong {field}")
    assert (final["state"], final["error"]["code"], final["error"]["field"]) == ("rejected", "api.validation", field)


def test_logging_out_and_pairing_again_from_the_command_line(page: Page) -> None:
    assert page.run("logout-1")["state"] == "done"
    with _wharf(page.stack, "instances", "pair", INSTANCE, "--code", f"+{PHONE}") as pairing:
        assert pairing.stdout is not None
        code = next(line.strip() for line in pairing.stdout if re.fullmatch(r"[A-Z0-9]{4}-?[A-Z0-9]{4}", line.strip()))
        _enter(page.stack, code)
        said, _ = pairing.communicate(timeout=60)
    assert pairing.returncode == 0, said
    assert f"{INSTANCE} is paired" in said
