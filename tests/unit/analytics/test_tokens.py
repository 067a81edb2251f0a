"""The engine's tokens on the disk: those without rows and half written ones are taken out, no others; parts are measured."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from analytics.embedded import tokens
from analytics.embedded.disk import Disk, Part, seems_whole
from analytics.embedded.errors import NOT_ENOUGH_SPACE, READONLY, TABLE_EXISTS, ServerError
from analytics.embedded.spool import Spooled
from analytics.embedded.upkeep import Upkeep


def entry(part: str, token: str = "1_2", operation: int = 1) -> str:
    return f"{operation}\t{part}\t{token}\n"


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """With the parts 202603_1_1_0 and 202603_2_4_1, and an insert that had not got its place."""
    folder = tmp_path / "store" / "abc" / "abc-def"
    for name in ("202603_1_1_0", "202603_2_4_1_7", "tmp_insert_202603_5_5_0", "detached", "deduplication_logs"):
        (folder / name).mkdir(parents=True)
    return folder


def write(table: Path, content: str, number: int = 1) -> Path:
    log = table / "deduplication_logs" / f"deduplication_log_{number}.txt"
    log.write_text(content)
    return log


@pytest.mark.parametrize(
    ("content", "left", "parts"),
    [
        (entry("202603_1_1_0") + entry("202603_3_3_0"), entry("202603_1_1_0") + entry("202603_3_3_0"), []),
        (entry("202603_1_1_0") + entry("202603_5_5_0"), entry("202603_1_1_0"), ["202603_5_5_0"]),
        (entry("202604_1_1_0") + entry("202603_1_1_0"), entry("202604_1_1_0") + entry("202603_1_1_0"), []),
        (entry("202603_9_9_0", operation=2), entry("202603_9_9_0", operation=2), []),
        (entry("202603_1_1_0") + "1\t2026", entry("202603_1_1_0"), [""]),
        ("1\t20" + entry("202603_2_2_0") + entry("202603_4_4_0"), entry("202603_4_4_0"), [""]),
        ("", "", []),
    ],
)
def test_after_a_crash_tokens_newer_than_every_part_go(table: Path, content: str, left: str, parts: list[str]) -> None:
    """And half entries; an older one whose rows are gone was replaced."""
    log = write(table, content)
    assert tokens.suspects(table.parents[2]) == ([table] if parts else [])
    assert tokens.mend(table) == parts
    assert log.read_text() == left
    assert tokens.suspects(table.parents[2]) == []


def test_after_a_failure_only_what_is_newer_than_its_beginning_goes(table: Path) -> None:
    """Though another insert has got a later place meanwhile, and a mend has made the file shorter."""
    data, before = table.parents[2], entry("202604_1_1_0") + entry("202603_1_1_0")
    log = write(table, before + entry("202603_7_7_0"))
    newest = tokens.newest(data)
    (table / "202603_9_9_0").mkdir()
    log.write_text(before + entry("202603_8_8_0") + entry("202603_9_9_0"))
    other = write(table, entry("202605_10_10_0"), 2)
    assert tokens.suspects(data, newest) == [table]
    assert tokens.mend(table, newest) == ["202603_8_8_0", "202605_10_10_0"]
    assert (log.read_text(), other.read_text()) == (before + entry("202603_9_9_0"), "")


def test_an_insert_that_ends_while_it_is_looked_at_does_not_seem_wrong(table: Path) -> None:
    """Its rows get their place before its token is read, and behind the look at the parts if that came first."""
    log = table / "deduplication_logs" / "deduplication_log_1.txt"
    os.mkfifo(log)

    def insert() -> None:
        with log.open("w") as file:
            (table / "202603_5_5_0").mkdir()
            file.write(entry("202603_5_5_0"))

    inserting = threading.Thread(target=insert)
    inserting.start()
    found = tokens.suspects(table.parents[2], {table: 4})
    inserting.join()
    assert found == []


@pytest.mark.parametrize(("code", "mends"), [(READONLY, False), (TABLE_EXISTS, False), (NOT_ENOUGH_SPACE, True)])
def test_tables_are_closed_only_after_a_failure_that_may_have_written(table: Path, code: int, mends: bool) -> None:
    asked: list[str] = []

    def ask(sql: str) -> list[list[str]]:
        asked.append(sql.split(maxsplit=1)[0])
        return [["d", "t"]] if sql.startswith("SELECT") else []

    upkeep = Upkeep(ask, table.parents[2], Disk(table))
    before = entry("202603_1_1_0")
    log = write(table, before)
    writing = upkeep.writing()
    writing.__enter__()
    log.write_text(before + entry("202603_5_5_0"))
    failure = ServerError(code, "no")
    assert not writing.__exit__(ServerError, failure, None)
    assert asked == (["SELECT", "DETACH", "ATTACH"] if mends else [])
    assert (log.read_text() == before) == mends


def test_the_newest_entry_may_stand_in_the_file_before(table: Path) -> None:
    older, newer = write(table, entry("202603_5_5_0"), 9), write(table, "", 10)
    assert tokens.mend(table) == ["202603_5_5_0"]
    assert (older.read_text(), newer.read_text()) == ("", "")


def test_a_part_is_measured_without_what_does_not_count(tmp_path: Path) -> None:
    for name, size in (("data.bin", 90), ("count.txt", 10), ("columns.txt", 7), ("checksums.txt", 5)):
        (tmp_path / name).write_bytes(bytes(size))
    part = Part("`d`.`t`", "all_1_1_0", tmp_path, 100, is_made_of_others=False)
    assert seems_whole(part)
    (tmp_path / "data.bin").write_bytes(bytes(89))
    assert not seems_whole(part)
    (tmp_path / "data.bin").write_bytes(bytes(90))
    (tmp_path / "columns.txt").write_bytes(b"")
    assert not seems_whole(part)
    (tmp_path / "own.proj").mkdir()
    assert seems_whole(Part("`d`.`t`", "all_1_1_0", tmp_path / "gone", 100, is_made_of_others=False))


def test_nothing_is_kept_where_the_disk_has_little_room(tmp_path: Path) -> None:
    disk = Disk(tmp_path)
    disk.keep = disk.free * 2
    spooled = Spooled(tmp_path / "x", disk)
    with pytest.raises(ServerError, match="make room") as caught:
        spooled.append(b"x")
    assert caught.value.code == NOT_ENOUGH_SPACE
    spooled.drop()
    assert not spooled.path.exists()
