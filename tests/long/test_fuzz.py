"""Every fuzz target for long: Go's own fuzzing for parsers, damaged input from a random seed for what has a state.

    make test-long            (or: pytest tests/long/test_fuzz.py -s)

Counts are printed and appended to build/fuzz.jsonl; docs/reliability.md holds a recorded run.
"""

from __future__ import annotations

import json
import os
import random
import re
import secrets
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from tests.support import clickhouse_servers, hostile, hostile_clickhouse

pytestmark = pytest.mark.timeout(3_600)
ROOT = Path(__file__).parents[2]
# Target, package, inputs.
NATIVE = (
    ("FuzzDecode", "internal/sim/wire", 300_000),
    ("FuzzFrames", "internal/sim/wire", 200_000),
    ("FuzzHandshake", "internal/sim/wire", 60_000),
    ("FuzzHandle", "internal/sim/server", 60_000),
    ("FuzzFrames", "internal/host", 200_000),
    ("FuzzToHost", "internal/host", 20_000),
)
# Test, package, inputs (WHARF_FUZZ_INPUTS).
STATEFUL = (("TestHostileStanzas", "internal/host/hostile", 6_000), ("TestHostileClient", "internal/sim", 6_000))
Target = Callable[[random.Random, int], None]


def record(target: str, inputs: int, began: float, **more: object) -> None:
    row = {"target": target, "inputs": inputs, "seconds": round(time.monotonic() - began, 1), **more}
    print(json.dumps(row))
    with (ROOT / "build" / "fuzz.jsonl").open("a") as out:
        out.write(json.dumps(row) + "\n")


def go(*arguments: str, **environment: str) -> str:
    command = (sys.executable, "-m", "compose.toolchain", "go", "test", *arguments)
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{done.stdout[-8_000:]}{done.stderr[-2_000:]}"
    return done.stdout


@pytest.mark.parametrize(("target", "package", "inputs"), NATIVE, ids=lambda value: str(value).replace("/", "."))
def test_native(target: str, package: str, inputs: int) -> None:
    began = time.monotonic()
    said = go("-run=^$", f"-fuzz=^{target}$", f"-fuzztime={inputs}x", "-parallel=2", f"./{package}")
    counts = [int(count) for count in re.findall(r"execs: (\d+)", said)]
    assert counts
    assert counts[-1] >= inputs
    record(f"{package} {target}", counts[-1], began)


@pytest.mark.parametrize(("test", "package", "inputs"), STATEFUL, ids=lambda value: str(value).replace("/", "."))
def test_stateful(test: str, package: str, inputs: int) -> None:
    began = time.monotonic()
    said = go("-count=1", "-v", f"-run=^{test}$", "-timeout=1h", f"./{package}", WHARF_FUZZ_INPUTS=str(inputs))
    [count] = re.findall(r"(\d+) inputs:", said)
    assert int(count) == inputs
    record(f"{package} {test}", inputs, began)


def test_python_targets(tmp_path: Path) -> None:
    targets: list[tuple[str, Target, int]] = [
        ("command decoder", hostile.command_decoder, 100_000),
        ("addresses and phone numbers", hostile.addresses, 200_000),
        ("limiter", hostile.limiter(tmp_path), 20_000),
        ("events of the host", hostile.host_events, 8_000),
        ("frames of the host", hostile.host_frames, 100_000),
        ("blocks for ClickHouse", hostile_clickhouse.valid_blocks, 30_000),
        ("damaged blocks for ClickHouse", hostile_clickhouse.damaged_blocks, 100_000),
        ("damaged packets for ClickHouse", hostile_clickhouse.damaged_packets, 100_000),
        ("damaged statements for ClickHouse", hostile_clickhouse.damaged_statements, 200_000),
        ("bodies for ClickHouse", hostile_clickhouse.bodies, 50_000),
    ]
    for name, target, inputs in targets:
        seed, began = secrets.randbits(32), time.monotonic()
        print(f"{name}: seed {seed}")
        target(random.Random(seed), inputs)
        record(name, inputs, began, seed=seed)


def test_clickhouse(tmp_path: Path) -> None:
    """Its lexer against the engine's own, and clients of a running server, which has no failure of its own in its log."""
    with clickhouse_servers.embedded(tmp_path, max_connections="24", reader_max_seconds="2") as server:
        server.server.execute("CREATE TABLE wharf.hostile (a UInt32, s String) ENGINE = MergeTree ORDER BY a")
        with server.server.client() as client:
            lexer = partial(hostile_clickhouse.lexer, ask=partial(hostile_clickhouse.engine_tokens, client))
            clients = partial(hostile_clickhouse.clients, port=server.port, http_port=server.http_port)
            for name, target, inputs in (
                ("lexer of ClickHouse", lexer, 300_000),
                ("clients of ClickHouse", clients, 20_000),
            ):
                seed, began = secrets.randbits(32), time.monotonic()
                print(f"{name}: seed {seed}")
                target(random.Random(seed), inputs)
                record(name, inputs, began, seed=seed)
        assert "connection_failed" not in server.log()
