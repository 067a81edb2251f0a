"""The scenario of `make demo ONCE=1`: so many messages each way, then every id compared."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from compose.demo.dump import Dump, observe
from compose.demo.phones import phone_of
from compose.demo.simulator import Simulator
from compose.demo.traffic import Traffic
from core.oracle import Report, compare
from core.settings import Settings

AT_LEAST = 300
QUESTIONS_PER_CONTACT = 55
PAUSE_SECONDS = 0.05
ASK_SECONDS = 180.0
SETTLE_SECONDS = 120.0
LOOK_SECONDS = 2.0


def ask_all(traffic: Traffic, tell: Callable[[str], None]) -> None:
    """Let every contact ask its questions."""
    traffic.start(questions=QUESTIONS_PER_CONTACT, pause=PAUSE_SECONDS)
    deadline = time.monotonic() + ASK_SECONDS
    while traffic.asking and time.monotonic() < deadline:
        _tell_progress(traffic, tell)
        time.sleep(LOOK_SECONDS)


def settle(
    traffic: Traffic, settings: Settings, simulator: Simulator, instances: Sequence[str], tell: Callable[[str], None]
) -> Report:
    """Look at ledgers and log until two looks in a row are the same and clean, or the time is up."""
    dump = Dump(settings)
    phones = {phone_of(instance): instance for instance in instances}
    deadline = time.monotonic() + SETTLE_SECONDS
    before: Report | None = None
    while True:
        _tell_progress(traffic, tell)
        report = compare(observe(dump, simulator, phones, list(traffic.commands)))
        if (report.clean and report == before) or time.monotonic() > deadline:
            return report
        before = report
        time.sleep(LOOK_SECONDS)


def is_reached(report: Report) -> bool:
    """The counts that the scenario is about, each way."""
    counts = report.counts
    return min(counts["in: events"], counts["out: received"]) >= AT_LEAST


def _tell_progress(traffic: Traffic, tell: Callable[[str], None]) -> None:
    figures = traffic.figures
    tell(
        f"asked {figures.asked}, events in {figures.inward.total}, answered {len(traffic.commands)},"
        f" final results {figures.outward.total}" + (f", refused {figures.refused}" if figures.refused else "")
    )
