"""A short run of every fuzz target on the Python side; tests/long/test_fuzz.py has the long one."""

from __future__ import annotations

import random
from pathlib import Path

from tests.support import hostile


def test_any_command_decodes_or_is_poison() -> None:
    hostile.command_decoder(random.Random(1), 3_000)


def test_any_address_is_canonical_or_refused() -> None:
    hostile.addresses(random.Random(2), 5_000)


def test_the_limiter_answers_every_record(tmp_path: Path) -> None:
    hostile.limiter(tmp_path)(random.Random(3), 1_500)


def test_any_event_of_the_host_is_committed_as_something() -> None:
    hostile.host_events(random.Random(4), 600)


def test_any_bytes_of_the_host_are_messages_or_end_it() -> None:
    hostile.host_frames(random.Random(5), 2_000)
