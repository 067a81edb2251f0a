"""Keeps what lies on the disk true to what clients were told: around every statement that writes, and while the disk is full.

chDB acknowledges parts that the disk has cut off (analytics.embedded.disk) and may remember tokens of rows that it has not
(analytics.embedded.tokens). Both are put right before the client hears of the statement, so that asking again does what it
says. What cannot be put right ends the process at once: opening the data anew does it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from analytics.embedded import disk, tokens
from analytics.embedded.disk import Disk, Part
from analytics.embedded.errors import NO_SUCH_DATA_PART, NOT_ENOUGH_SPACE, REFUSALS, ServerError
from analytics.embedded.quoting import quote_name
from analytics.embedded.tokens import Newest
from core.telemetry.logs import get_logger

LOOK_SECONDS = 0.2
# Parts are dated by the second, and a merge may have begun before the disk was low.
_BEFORE_SECONDS = 60
# A statement on a connection of its own, and its rows; ServerError.
Ask = Callable[[str], list[list[Any]]]


class Upkeep:
    """`writing` is used by all connections' threads; one more watches the disk."""

    def __init__(self, ask: Ask, data: Path, disk: Disk) -> None:
        self._ask = ask
        self._data = data
        self._disk = disk
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="upkeep", daemon=True)

    def start(self) -> None:
        # Parts that the engine has just found broken have tokens, too.
        self._mend_tokens()
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join()

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Around a statement that writes. Inside, and at its end, ServerError is a failure of the statement."""
        self._disk.check()
        was_ample, began, newest = self._disk.is_ample, time.time(), tokens.newest(self._data)
        try:
            yield
            if not was_ample and self._drop_cut_off(began):
                raise ServerError(
                    NOT_ENOUGH_SPACE, "No space left: the disk took only some of the rows (NOT_ENOUGH_SPACE)"
                )
        except ServerError as error:
            # Mending closes tables that others insert into: not for a statement that wrote nothing.
            if error.code not in REFUSALS:
                self._mend_tokens(newest)
            raise

    def _mend_tokens(self, since: Newest | None = None) -> None:
        with self._lock, _or_end("tokens_not_mended"):
            for table in tokens.suspects(self._data, since):
                for database, name in self._ask(
                    f"SELECT database, name FROM system.tables WHERE uuid = '{table.name}'"
                ):
                    full = f"{quote_name(database)}.{quote_name(name)}"
                    # It waits for inserts under way; what seemed wrong may be right then.
                    self._ask(f"DETACH TABLE {full} SYNC")
                    try:
                        parts = tokens.mend(table, since)
                    finally:
                        self._ask(f"ATTACH TABLE {full}")
                    _say("tokens_without_rows_taken_out", table=full, parts=parts)

    def _drop_cut_off(self, since: float) -> bool:
        """Whether parts that were made since then are not whole on the disk; they are gone then."""
        with self._lock, _or_end("parts_not_dropped"):
            found = [part for part in self._parts(since) if not disk.seems_whole(part) and self._is_broken(part)]
            for part in found:
                _say("part_cut_off", table=part.full_table, part=part.name)
                if part.is_made_of_others:
                    raise ServerError(NOT_ENOUGH_SPACE, f"what {part.name} is made of must be found again")
                self._ask(f"ALTER TABLE {part.full_table} DROP PART '{part.name}'")
            return bool(found)

    def _is_broken(self, part: Part) -> bool:
        """What the engine itself says when it reads the part."""
        try:
            rows = self._ask(
                f"CHECK TABLE {part.full_table} PART '{part.name}' SETTINGS check_query_single_value_result = 0"
            )
        except ServerError as error:
            return error.code != NO_SUCH_DATA_PART
        return any(not int(row[1]) for row in rows)

    def _parts(self, since: float) -> list[Part]:
        rows = self._ask(
            "SELECT database, table, name, path, bytes_on_disk, partition_id, min_block_number, max_block_number, active"
            f" FROM system.parts WHERE modification_time >= toDateTime({int(since) - 1}) OR NOT active"
        )
        former = [row for row in rows if not int(row[8])]
        return [
            Part(
                f"{quote_name(row[0])}.{quote_name(row[1])}",
                row[2],
                Path(row[3]),
                int(row[4]),
                any(_is_within(one, row) for one in former),
            )
            for row in rows
            if int(row[8])
        ]

    def _watch(self) -> None:
        """Merging is stopped while the disk is low: what it replaces would be lost with what it writes."""
        was_low = False
        while not self._stop.wait(LOOK_SECONDS):
            is_low = self._disk.is_low
            if is_low == was_low:
                continue
            try:
                self._ask("SYSTEM STOP MERGES" if is_low else "SYSTEM START MERGES")
            except ServerError as error:
                _say("merging_not_switched", error=error)
                continue
            was_low = is_low
            _say("disk_low" if is_low else "disk_has_room", free_mib=self._disk.free >> 20)
            if is_low:
                self._drop_cut_off(time.time() - _BEFORE_SECONDS)


def _is_within(one: list[Any], other: list[Any]) -> bool:
    """Whether the blocks of a part are those of another part of its table, or some of them."""
    same = (one[0], one[1], one[5]) == (other[0], other[1], other[5])
    return same and int(other[6]) <= int(one[6]) and int(one[7]) <= int(other[7])


@contextlib.contextmanager
def _or_end(event: str) -> Iterator[None]:
    """What fails inside leaves something on the disk that only opening it anew puts right."""
    try:
        yield
    except (ServerError, OSError) as error:
        _say(event, error=error)
        os.kill(os.getpid(), signal.SIGKILL)


def _say(event: str, **facts: Any) -> None:
    # The log may be on the same disk.
    with contextlib.suppress(OSError):
        get_logger(__name__).error(event, **facts)
