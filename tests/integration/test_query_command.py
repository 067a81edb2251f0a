"""`wharf query` and `wharf report` against the embedded server, each call a process as people start it: the cache, Parquet, the
page, and what they refuse."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from analytics.schema.migrate import migrate
from compose.cli.app import main
from core.settings import ClickHouseSettings
from tests.support import clickhouse_servers
from tests.support import events as make
from tests.support.clickhouse import insert_records
from tests.support.clickhouse_servers import ROOT, Embedded
from tests.support.waiting import wait_until

pytestmark = pytest.mark.timeout(300)
SECONDS = 60
HITS = "wharf_clickhouse_cache_hits_total"
# Another time zone than UTC must not move a day.
ABROAD = {"TZ": "Asia/Kolkata"}


@dataclass(frozen=True, slots=True)
class Asking:
    server: Embedded
    settings: ClickHouseSettings
    env: dict[str, str]
    folder: Path

    def run(self, *words: str, stdout: int = subprocess.PIPE) -> subprocess.CompletedProcess[bytes]:
        command = [sys.executable, "-m", "compose.cli", *words]
        return subprocess.run(
            command, env=self.env, cwd=self.folder, stdout=stdout, stderr=subprocess.PIPE, timeout=SECONDS
        )

    def told(self, **settings: str) -> Asking:
        """With other settings of ClickHouse."""
        given = {f"WHARF_CLICKHOUSE__{name.upper()}": value for name, value in settings.items()}
        return replace(self, env={**self.env, **given})

    def good(self, *words: str) -> str:
        done = self.run(*words)
        assert done.returncode == 0, done.stderr
        return done.stdout.decode()

    def insert(self, first: int, count: int) -> None:
        at = make.BASE_MS + first * 1000
        insert_records(
            self.settings,
            "events.message",
            [make.message("sales-1", first + n, at + n) for n in range(count)],
            first=first,
        )


@pytest.fixture(scope="module")
def asking(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asking]:
    folder = tmp_path_factory.mktemp("query")
    with clickhouse_servers.embedded(folder, env=ABROAD) as server:
        settings = ClickHouseSettings(port=server.port, http_port=server.http_port)
        migrate(settings)
        env = {
            **os.environ,
            **ABROAD,
            "PYTHONPATH": str(ROOT),
            "WHARF_CLICKHOUSE__PORT": str(server.port),
            "WHARF_CLICKHOUSE__HTTP_PORT": str(server.http_port),
        }
        running = Asking(server, settings, env, folder)
        running.insert(0, 3)
        yield running


Refused = Callable[..., str]


@pytest.fixture
def refused(asking: Asking, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Refused:
    """The one line that a command says which cannot be, run in this process."""

    def run(*words: str, **settings: str) -> str:
        monkeypatch.chdir(asking.folder)
        for name, value in asking.told(**settings).env.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(SystemExit) as caught:
            main(words)
        assert caught.value.code == 1
        told = capsys.readouterr()
        assert told.out == ""
        (line,) = told.err.splitlines()
        return line

    return run


VOLUME = ("query", "volume", "--param", "from=2026-03-01", "--param", "to=2026-03-02", "--format", "csv")


def events_of(table: str) -> int:
    return sum(int(line.split(",")[4]) for line in table.splitlines()[1:])


def test_a_named_query_asked_again_is_answered_from_the_cache(asking: Asking) -> None:
    patient = asking.told(cache_seconds="3600")
    before, hits = patient.good(*VOLUME), asking.server.metric(HITS)
    asking.insert(10, 2)
    assert patient.good(*VOLUME) == before
    assert asking.server.metric(HITS) == hits + 1
    assert 0 < asking.server.metric("wharf_clickhouse_cache_hit_ratio") < 1
    for fresh in (patient.good(*VOLUME, "--no-cache"), asking.told(cache_seconds="0").good(*VOLUME)):
        assert events_of(fresh) == events_of(before) + 2
    assert asking.server.metric(HITS) == hits + 1


def test_an_answer_of_the_cache_ends_with_its_life(asking: Asking) -> None:
    hasty = asking.told(cache_seconds="1")
    before = events_of(hasty.good(*VOLUME))
    asking.insert(20, 1)
    wait_until(lambda: events_of(hasty.good(*VOLUME)) == before + 1, 30, "the new row is told")


def test_days_are_those_of_utc_wherever_the_server_is(asking: Asking) -> None:
    period = ("--param", "from=2026-03-01T00:00:00Z", "--param", "to=2026-03-01T01:00:00Z", "--format", "csv")
    (line,) = asking.good("query", "volume_by_hour", *period, "--no-cache").splitlines()[1:]
    assert line.startswith("2026-03-01T00:00:00.000Z,message,message.new,")


def test_parquet_to_a_file_and_to_a_pipe(asking: Asking) -> None:
    sql = "SELECT instance, count() AS n, max(ts) AS last, 'ä''\"\\\\' AS text FROM events GROUP BY instance"
    asking.good("query", sql, "--format", "parquet", "-o", "events.parquet")
    piped = asking.run(
        "query", "volume", "--param", "from=2026-03-01", "--param", "instance=it's \\ \t", "--format", "parquet"
    )
    assert piped.returncode == 0, piped.stderr
    (asking.folder / "volume.parquet").write_bytes(piped.stdout)
    # No leftovers of the writing.
    assert sorted(path.name for path in asking.folder.glob("*parquet*")) == ["events.parquet", "volume.parquet"]
    assert read_parquet(asking.folder, "events.parquet", "instance, n > 0, text") == "sales-1\t1\tä'\"\\\n"
    assert read_parquet(asking.folder, "volume.parquet", "count()") == "0\n"


def read_parquet(folder: Path, name: str, what: str) -> str:
    """By the engine in a process of its own."""
    program = f"import chdb; print(chdb.query('''SELECT {what} FROM file('{name}') FORMAT TSVRaw'''), end='')"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, timeout=SECONDS, check=True
    )
    return done.stdout


def test_text_formats_to_a_file(asking: Asking) -> None:
    asking.good("query", "SELECT 'ä' AS a", "--format", "json", "-o", "a.json")
    assert (asking.folder / "a.json").read_text() == '{"a": "ä"}\n'


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("SELECT 1", "-f", "parquet", "-o", "nowhere/x"), "nowhere/x cannot be written: No such file or directory"),
        (("SELECT 1", "-f", "parquet", "-o", "."), ". cannot be written: Is a directory"),
        (("SELECT 1", "-f", "csv", "-o", "clickhouse.log/x"), "clickhouse.log/x cannot be written: Not a directory"),
        (("SELECT 1 FORMAT CSV", "-f", "parquet", "-o", "x"), "FORMAT CSV: leave that out"),
        (("SELECT * FROM nothing", "-f", "parquet", "-o", "x"), "`wharf clickhouse migrate` makes the tables"),
        (("SELECT no", "-f", "parquet", "-o", "x"), "ClickHouse: Unknown expression identifier"),
        (("SELECT number FROM numbers(2000000)", "-f", "parquet", "-o", "x"), "more than 1,000,000 rows"),
        (("DROP TABLE events", "-f", "parquet", "-o", "x"), "may only read"),
        (("list", "-f", "parquet", "-o", "x"), "[api.validation]"),
        (("volume", "-p", "from=2026-03-02", "-p", "to=2026-03-01"), "not before to, 2026-03-01T00:00:00Z"),
        (("volume", "-p", "instance=slaes-1"), "similar: sales-1"),
    ],
)
def test_what_cannot_be_is_one_line_and_leaves_no_file(
    asking: Asking, refused: Refused, words: tuple[str, ...], says: str
) -> None:
    there = sorted(asking.folder.iterdir())
    assert says in refused("query", *words)
    assert sorted(asking.folder.iterdir()) == there


def test_parquet_is_not_written_to_a_terminal(asking: Asking) -> None:
    parent, child = pty.openpty()
    try:
        done = asking.run("query", "SELECT 1", "--format", "parquet", stdout=child)
        assert (done.returncode, b"-o FILE" in done.stderr) == (1, True)
    finally:
        os.close(parent)
        os.close(child)


def test_clickhouse_away(asking: Asking, refused: Refused) -> None:
    for words in (("query", "funnel"), ("query", "funnel", "--format", "parquet"), ("report", "-o", "away.html")):
        line = refused(*words, port="1", http_port="2")
        assert "does not answer" in line
        assert "`wharf up` starts it" in line
    assert not (asking.folder / "away.html").exists()


PERIOD = ("--from", "2026-03-01", "--to", "2026-03-02")


def test_a_report_is_a_page_of_what_was_asked(asking: Asking) -> None:
    name = "<b>'spring' & \"sale\"</b>"
    sent = make.message("shop-1", 1, make.BASE_MS, direction="out", metadata={"campaign": name, "agent": name})
    insert_records(asking.settings, "events.message", [sent], first=1_000)
    said = asking.run("report", *PERIOD, "--instance", "shop-1", "-o", "shop.html")
    assert said.returncode == 0, said.stderr
    page = (asking.folder / "shop.html").read_text()
    assert said.stderr.decode().startswith(f"shop.html written: {len(page.encode()) / 1024:,.0f} KiB")
    assert "<title>shop-1: 1 Mar 2026, 00:00 to 2 Mar 2026, 00:00 UTC (1 day)</title>" in page
    assert "1 Mar 2026: 1 sent" in page
    # In the chart and in the table.
    assert page.count("&lt;b&gt;") > 2
    assert "<b>" not in page
    # All instances, to a pipe.
    piped = asking.good("report", *PERIOD, "-o", "-")
    assert "<h1>All instances</h1>" in piped
    assert piped.endswith("</html>")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("-i", "slaes-1", *PERIOD), "are in ClickHouse; similar: sales-1"),
        (("--from", "now", "--to", "1d"), "not before to"),
        (("--from", "yesterday"), "from: 'yesterday' is not a time like"),
        ((*PERIOD, "-o", "nowhere/x.html"), "nowhere/x.html cannot be written: No such file or directory"),
    ],
)
def test_a_report_that_cannot_be_is_one_line(
    asking: Asking, refused: Refused, words: tuple[str, ...], says: str
) -> None:
    assert says in refused("report", *words)
    assert not (asking.folder / "report.html").exists()
