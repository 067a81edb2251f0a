"""Kafka is away for a minute and for ten, and its disk fills up; under load in both directions, with figures.

    make test-long            (or: pytest tests/long/test_kafka_away_for_long.py -s -k 60)

Figures are printed and appended to build/kafka-away.jsonl; docs/reliability.md holds a recorded run.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from compose.stack import status
from compose.toolchain import layout
from core.settings import PREFIX
from tests.support.away import Traffic, Watch, health, paused, wait_healthy
from tests.support.stack import LiveStack, running_stack
from tests.support.waiting import wait_until

OURS = ("registrar", "limiter", "connector-1")
ALL = (*OURS, "registry")
INSTANCES = 8
# design.md, invariant 5; the rest is what this machine's load makes of it.
GIVE_UP_S = 20.0
BACK_S = 180.0
# What connector and host may need on top while Kafka is away: the journal that waits in both is bounded by 64 MiB.
GROWTH = 64 << 20


@contextmanager
def fresh_stack(folder: Path) -> Iterator[LiveStack]:
    env = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    with running_stack(folder, env) as live:
        yield live


def deaths(own: LiveStack) -> dict[str, int]:
    return {name: own.embedded.state.component(name).restarts for name in OURS}


def record(figures: dict[str, Any]) -> None:
    line = json.dumps(figures)
    print(line)
    layout.BUILD.mkdir(exist_ok=True)
    with (layout.BUILD / "kafka-away.jsonl").open("a") as file:
        file.write(line + "\n")


def wait_seconds(seconds: float) -> None:
    end = time.monotonic() + seconds
    wait_until(lambda: time.monotonic() >= end, seconds + 5, "the time is over")


@pytest.mark.parametrize(("seconds", "period"), [(60, 0.5), (600, 2.0)])
@pytest.mark.timeout(1800)
def test_kafka_stands_still(tmp_path: Path, seconds: int, period: float) -> None:
    with fresh_stack(tmp_path) as own:
        paired, contact = own.add_instances(INSTANCES), own.add_contact()
        before = deaths(own)
        with Traffic(own, paired, contact, "long", period) as traffic:
            traffic.wait_flowing()
            with Watch(own, paired) as watch:
                wait_until(lambda: len(watch.seen.rss.get("host", ())) > 5, 10, "memory is measured")
                away = watch.now()
                with paused(own, "kafka"):
                    wait_until(lambda: len(watch.offline) == INSTANCES, GIVE_UP_S + 20, "all sessions have left")
                    assert min(min(times) for times in watch.seen.went.values()) - away > GIVE_UP_S - 3
                    told = wait_until(lambda: _all_unavailable(own), 30, "every process says so")
                    wait_seconds(away + seconds - watch.now())
                    assert _all_unavailable(own), "and goes on saying so"
                    report = status.collect(own.embedded.files, own.settings)
                    assert {part["name"] for part in report["components"] if not part["healthy"]} == {"kafka", *ALL}
                    assert {row["state"] for row in report["instances"]} <= {"offline"}
                    log_lines = _log_lines(own, "connector-1")
                back = watch.now()
                wait_healthy(own, ALL, BACK_S)
                healthy = watch.now()
                wait_until(lambda: not watch.offline, BACK_S, "all sessions are back")
                counts = traffic.settle(BACK_S)
            first, last = watch.seen.spread(back)
            grown = {name: watch.seen.grown(name) for name in ("connector", "host")}
            record(
                {
                    "case": f"stands still for {seconds} s",
                    "left_after_s": round(min(min(times) for times in watch.seen.went.values()) - away, 1),
                    "healthy_after_s": round(healthy - back, 1),
                    "back_first_s": round(first - back, 1),
                    "back_last_s": round(last - back, 1),
                    "grown_mib": {name: round(size / 2**20, 1) for name, size in grown.items()},
                    "failed_at_producer": len(traffic.failed),
                    "log_lines_connector": log_lines,
                    "says": told,
                    "counts": counts,
                }
            )
            assert deaths(own) == before
            assert last - first > 0.5, "they come back one after the other"
            assert max(grown.values()) < GROWTH, f"memory stays bounded: {grown}"
            assert set(traffic.failed.values()) <= {"_MSG_TIMED_OUT"}
            assert traffic.failed, "what is sent meanwhile fails at its producer"


@pytest.mark.timeout(1800)
def test_kafka_dies_again_and_again_for_a_minute(tmp_path: Path) -> None:
    with fresh_stack(tmp_path) as own:
        paired, contact = own.add_instances(INSTANCES), own.add_contact()
        before = deaths(own)
        with Traffic(own, paired, contact, "killed", 0.5) as traffic:
            traffic.wait_flowing()
            kafka, killed = own.embedded.state.component("kafka").restarts, 0
            with Watch(own, paired) as watch:
                wait_until(lambda: len(watch.seen.rss.get("host", ())) > 5, 10, "memory is measured")
                end = watch.now() + 60
                while watch.now() < end:
                    wait_until(
                        lambda: own.embedded.state.component("kafka").pid is not None, BACK_S, "it is started again"
                    )
                    own.kill("kafka")
                    killed += 1
                    wait_until(partial(_has_died, own, "kafka", kafka + killed), 30, "it died")
                back = watch.now()
                wait_healthy(own, ALL, BACK_S)
                healthy = watch.now()
                wait_until(lambda: not watch.offline, BACK_S, "all sessions are back")
                counts = traffic.settle(BACK_S)
            grown = {name: watch.seen.grown(name) for name in ("connector", "host")}
            record(
                {
                    "case": "killed again and again for 60 s",
                    "kills": killed,
                    "healthy_after_s": round(healthy - back, 1),
                    "grown_mib": {name: round(size / 2**20, 1) for name, size in grown.items()},
                    "failed_at_producer": len(traffic.failed),
                    "counts": counts,
                }
            )
            assert deaths(own) == before
            assert max(grown.values()) < GROWTH, f"memory stays bounded: {grown}"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """The data folder of a stack whose Kafka has a file system of its own."""
    disk = tmp_path / "data" / "kafka"
    disk.mkdir(parents=True)
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=192m", "tmpfs", str(disk)], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
    try:
        yield tmp_path / "data"
    finally:
        # Lazily: Kafka may still be about to end.
        assert ctypes.CDLL(None).umount2(str(disk).encode(), 2) == 0


@pytest.mark.timeout(1800)
def test_kafkas_disk_is_full(small_disk: Path) -> None:
    with fresh_stack(small_disk) as own:
        paired, contact = own.add_instances(3), own.add_contact()
        before = deaths(own)
        with Traffic(own, paired, contact, "full", 0.5) as traffic:
            traffic.wait_flowing()
            filler = small_disk / "kafka" / "filler"
            with Watch(own, paired) as watch:
                began = watch.now()
                _fill(filler)
                # Kafka shuts its only log folder down and with it itself; the supervisor starts it in vain.
                wait_until(lambda: _fill(filler) > 0 and _has_died(own, "kafka", 2), 120, "Kafka has ended twice")
                died = watch.now()
                said = own.embedded.state.component("kafka").error
                wait_until(lambda: len(_unavailable(own)) == len(OURS), 60, "our processes say so")
                assert "no space left" in said, "wharf status says what is wrong"
                filler.unlink()
                freed = watch.now()
                wait_until(lambda: own.embedded.state.component("kafka").ready, BACK_S, "Kafka is back")
                kafka_back = watch.now()
                wait_healthy(own, ALL, BACK_S)
                healthy = watch.now()
                wait_until(lambda: not watch.offline, BACK_S, "all sessions are online")
                wait_seconds(5)
                counts = traffic.settle(BACK_S)
            record(
                {
                    "case": "disk full",
                    "kafka_ended_twice_after_s": round(died - began, 1),
                    "full_for_s": round(freed - began, 1),
                    "kafka_ready_after_s": round(kafka_back - freed, 1),
                    "healthy_after_s": round(healthy - freed, 1),
                    "kafka_says": said,
                    "failed_at_producer": len(traffic.failed),
                    "errors_at_producer": sorted(set(traffic.failed.values())),
                    "deaths": {name: count - before[name] for name, count in deaths(own).items()},
                    "counts": counts,
                }
            )


def _fill(filler: Path) -> int:
    """Takes whatever room there is; the size of what fills it."""
    with filler.open("ab", buffering=0) as file:
        try:
            while file.write(bytes(1 << 16)):
                continue
        except OSError as cause:
            if cause.errno != errno.ENOSPC:
                raise
        return file.tell()


def _has_died(own: LiveStack, name: str, times: int) -> bool:
    return own.embedded.state.component(name).restarts >= times


def _unavailable(own: LiveStack) -> dict[str, str]:
    """Of those of our processes that say that they are not well: why."""
    said = {}
    for name in OURS:
        try:
            code, body = health(own, name)
        except httpx.HTTPError:
            continue
        if code == 503 and body["checks"]["kafka"]["status"] != "ok":
            said[name] = str(body["checks"]["kafka"]["detail"])
    return said


def _all_unavailable(own: LiveStack) -> dict[str, str]:
    said = _unavailable(own)
    return said if len(said) == len(OURS) else {}


def _log_lines(own: LiveStack, name: str) -> int:
    return len(own.embedded.files.log(name).read_text(errors="replace").splitlines())
