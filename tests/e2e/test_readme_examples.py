"""The examples of the README and of docs/analytics.md, run as they stand against a running stack."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.stack import LiveStack, Paired
from tests.support.waiting import wait_until

pytestmark = pytest.mark.timeout(180)
ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
ANALYTICS = (ROOT / "docs" / "analytics.md").read_text()
EXAMPLES = ROOT / "docs" / "examples"


@pytest.fixture(scope="module")
def paired(stack: LiveStack) -> Paired:
    return stack.add_instances(1)


@pytest.fixture(scope="module")
def environment(stack: LiveStack) -> dict[str, str]:
    settings = stack.settings
    return {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "WHARF_KAFKA__BOOTSTRAP": settings.kafka.bootstrap,
        "WHARF_REGISTRY__URL": settings.registry.url,
        "WHARF_CLICKHOUSE__PORT": str(settings.clickhouse.port),
        "WHARF_CLICKHOUSE__HTTP_PORT": str(settings.clickhouse.http_port),
        "WHARF_DATA_DIR": str(settings.data_dir),
    }


def run(environment: dict[str, str], *command: str, seconds: float = 60) -> str:
    done = subprocess.run(
        command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=seconds, check=False
    )
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


def test_produce_an_avro_command(stack: LiveStack, paired: Paired, environment: dict[str, str]) -> None:
    contact = stack.add_contact()
    said = run(
        environment,
        sys.executable,
        str(EXAMPLES / "produce_command.py"),
        paired.ids[0],
        f"+{contact}",
        "hello",
        "readme-avro",
    )
    assert said.splitlines()[-1].split()[0] == "sent"
    received = stack.simulator.ledger()["received"]
    assert [row["text"] for row in received if row["recipient"] == contact] == ["hello"]


def test_produce_a_json_command_with_kcat(stack: LiveStack, paired: Paired, environment: dict[str, str]) -> None:
    contact = stack.add_contact()
    [example] = re.findall(r"^(echo 'sales-1.*?)\n```", README, re.MULTILINE | re.DOTALL)
    for written, here in (
        ("sales-1", paired.ids[0]),
        ("order-1001", "readme-json"),
        ("+4915123456789", f"+{contact}"),
        ("127.0.0.1:9092", stack.settings.kafka.bootstrap),
    ):
        assert written in example
        example = example.replace(written, here)
    run(environment, "sh", "-c", example)
    wait_until(
        lambda: [row["text"] for row in stack.simulator.ledger()["received"] if row["recipient"] == contact],
        60,
        "the command of the README arrived",
    )


def test_consume_events(stack: LiveStack, paired: Paired, environment: dict[str, str]) -> None:
    contact = stack.add_contact()
    stack.simulator.send(contact, next(iter(paired.phones.values())), "for the consumer")
    command = [sys.executable, str(EXAMPLES / "consume_events.py"), "readme-consumer"]
    with subprocess.Popen(command, env=environment, cwd=ROOT, stdout=subprocess.PIPE, text=True) as consumer:
        assert consumer.stdout is not None
        try:
            assert any(line.rstrip().endswith("for the consumer") for line in consumer.stdout)
        finally:
            consumer.kill()


def test_send_and_tail(stack: LiveStack, paired: Paired, environment: dict[str, str]) -> None:
    contact = stack.add_contact()
    instance = paired.ids[0]
    run(environment, "wharf", "send", instance, f"+{contact}", "from the command line", "--wait")
    tailed = run(
        environment, "wharf", "tail", "results", "--instance", instance, "--from", "beginning", "--json", "--no-follow"
    )
    assert '"sent"' in tailed


def test_query_by_name_and_in_sql(stack: LiveStack, paired: Paired, environment: dict[str, str]) -> None:
    """What was sent is in ClickHouse; the queries of the README have answers."""
    stack.send(paired, paired.ids[0], stack.add_contact(), "asked for later", "readme-query")
    stack.system.flush()
    sql = "SELECT count() AS sent FROM events FINAL WHERE command_id = 'readme-query' AND kind = 'result.sent'"

    def stored() -> bool:
        return bool(json.loads(run(environment, "wharf", "query", sql, "--format", "json"))["sent"] == 1)

    wait_until(stored, 60, "the result is in ClickHouse")
    assert "funnel" in run(environment, "wharf", "query", "list")
    table = run(environment, "wharf", "query", "funnel", "--param", "from=7d", "--format", "csv").splitlines()
    assert table[0].startswith("day,sent,acknowledged")
    assert len(table) > 1


def here(example: str, *replaced: tuple[str, str]) -> str:
    """An example with our ports and names in the place of those that are written."""
    for written, ours in replaced:
        assert written in example
        example = example.replace(written, ours)
    return example


def test_report_and_parquet(stack: LiveStack, paired: Paired, environment: dict[str, str], tmp_path: Path) -> None:
    """As the README has them; the instance has events by then."""
    outputs = f"cd {tmp_path} && export PYTHONPATH={ROOT} && "
    for name, starts in (("report.html", b"<!DOCTYPE html>"), ("volume.parquet", b"PAR1")):
        [example] = re.findall(rf"^(wharf .*-o {re.escape(name)})", README, re.MULTILINE)
        assert example in ANALYTICS

        def succeeds(command: str = outputs + example.replace("sales-1", paired.ids[0])) -> bool:
            return subprocess.run(["sh", "-c", command], env=environment, check=False, timeout=60).returncode == 0

        wait_until(succeeds, 60, f"{name} is written")
        assert (tmp_path / name).read_bytes().startswith(starts)


def test_ask_with_curl_and_with_clickhouse_driver(
    stack: LiveStack, paired: Paired, environment: dict[str, str]
) -> None:
    settings = stack.settings.clickhouse
    stack.send(paired, paired.ids[0], stack.add_contact(), "counted", "docs-curl")
    [curl] = re.findall(r"^(curl .*?)\n```", ANALYTICS, re.MULTILINE | re.DOTALL)
    curl = here(curl, ("8123", str(settings.http_port)), ("database=wharf", f"database={settings.database}"))

    def counted() -> bool:
        table = run(environment, "sh", "-c", curl).splitlines()
        assert table[0] == '"day","direction","messages"'
        return any('"out"' in line for line in table[1:])

    wait_until(counted, 60, "the message is counted")
    [program] = re.findall(r"```python\n(from clickhouse_driver .*?)```", ANALYTICS, re.DOTALL)
    program = here(program, ("9000", str(settings.port)), ('"wharf"', f'"{settings.database}"'))
    assert run(environment, sys.executable, "-c", program).splitlines()
