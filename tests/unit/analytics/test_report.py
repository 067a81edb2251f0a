"""The report's page: texts of others are only ever text, nothing is loaded or run, and what is empty says so."""

from __future__ import annotations

import base64
import hashlib
import re
from datetime import UTC, date, datetime, timedelta
from html.parser import HTMLParser
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics.queries.named import queries
from analytics.report import words
from analytics.report.ask import ASKED
from analytics.report.build import build
from analytics.report.charts import Waits, waits
from analytics.report.model import Period, Question, Row, Width
from analytics.report.steps import MAX_DAYS, steps

DAY = date(2026, 3, 1)
AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
MARCH = Period(datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 4, 1, tzinfo=UTC))
HOSTILE = "\"'></title></style></svg><script>alert(1)</script><img src=//x onerror=alert(2)>{{7*7}}\u202e\0]]>&amp;"
EMPTY: dict[str, list[Row]] = {name: [] for name in ASKED}


def told(text: str) -> dict[str, list[Row]]:
    """An answer of every query, with a text of others wherever there can be one."""
    came: dict[str, Any] = {"day": DAY, "kind": "message.new", "direction": "in", "content_type": text, "events": 12}
    counts = {"sent": 9, "acknowledged": 8, "delivered": 7, "read": 5, "failed": 1}
    return {
        "volume": [came, {**came, "direction": "out", "events": 9, "content_type": "text"}],
        "active_contacts": [{"instance": text, "direction": "in", "contacts": 4}],
        "active_contacts_by_day": [{"day": DAY, "direction": "in", "contacts": 4}],
        "busiest_hours": [{"weekday": 7, "hour_of_day": 12, "messages": 12}],
        "funnel": [{"day": DAY, **counts}],
        "latency": [
            {
                "instance": text,
                "delivered": 7,
                "delivery_seconds": [0.4, 2.0, 70.0],
                "read": 5,
                "read_seconds": [3.0, 600.0, 90_000.0],
            }
        ],
        "campaigns": [{"campaign": text, **counts, "read_percent": 55.6, "median_seconds_to_read": None}],
        "response_time": [{"agent": text, "answers": 3, "seconds": [20.0, 30.0, 40.0]}],
        "failures": [{"kind": text, "error_code": text, "events": 2, "first_hour": AT, "last_hour": AT}],
        "limits": [
            {"instance": text, "kind": "result.delayed", "error_code": text, "events": 3, "mean_delay_seconds": 1.5}
        ],
        "uptime": [{"instance": text, "online_percent": 75.0, "online_seconds": 75, "known_seconds": 100, "drops": 1}],
        "session_states": [
            {"instance": text, "state": text, "since": AT, "until": AT + timedelta(hours=1)},
            {"instance": text, "state": "online", "since": AT + timedelta(hours=1), "until": MARCH.end},
        ],
    }


class Seen(HTMLParser):
    """Elements, attributes and texts as a browser reads them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.texts: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def charts(page: str) -> list[str]:
    return re.findall(r"<svg [^>]*role=\"img\".*?</svg>", page, re.DOTALL)


@pytest.fixture(scope="module")
def hostile() -> str:
    return build(Question(HOSTILE, MARCH), told(HOSTILE), AT)


def test_texts_of_others_stay_text(hostile: str) -> None:
    seen, harmless = Seen(hostile), Seen(build(Question("sales-1", MARCH), told("x"), AT))
    # The same elements and attributes, whatever the texts are.
    assert seen.tags == harmless.tags
    assert {name for name, _ in seen.attributes} == {name for name, _ in harmless.attributes}
    shown = words.label(HOSTILE)
    assert "<script>" in shown
    assert any(text == shown for text in seen.texts), "the name is shown as it is"
    assert not {"\u202e", "\0"} & set(hostile)
    for chart in charts(hostile):
        ET.fromstring(chart)


def test_the_page_loads_and_runs_nothing(hostile: str) -> None:
    seen = Seen(hostile)
    assert not set(seen.tags) & {
        "script",
        "img",
        "link",
        "iframe",
        "object",
        "embed",
        "image",
        "use",
        "foreignobject",
        "a",
    }
    assert not [name for name, _ in seen.attributes if name.startswith("on") or name in ("style", "src", "href")]
    assert not [value for name, value in seen.attributes if "//" in value and not name.startswith("xmlns")]
    (style,) = re.findall(r"<style>(.*?)</style>", hostile, re.DOTALL)
    assert "url(" not in style
    assert "@import" not in style
    (policy,) = re.findall(r"Content-Security-Policy\" content=\"([^\"]+)\"", hostile)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert policy.startswith(f"default-src 'none'; style-src 'sha256-{digest}'; ")
    ids = [value for name, value in seen.attributes if name == "id"]
    assert len(ids) == len(set(ids))


def test_numbers_are_told_for_people() -> None:
    page = build(Question("sales-1", MARCH), told("bob"), AT)
    texts = "\n".join(Seen(page).texts)
    for said in (
        "1 Mar 2026, 00:00 to 1 Apr 2026, 00:00 UTC (31 days)",
        "from 4 contacts",
        "77.8 %",
        "Most come between 12:00",
    ):
        assert said in texts, said
    assert "1 Mar 2026: 12 received" in texts, "a column tells its number"
    assert "bob: 9 of 10 within 30 s" in texts
    # The command that has the same numbers.
    assert (
        "wharf query funnel --param from=2026-03-01T00:00:00Z --param to=2026-04-01T00:00:00Z --param instance=sales-1"
        in texts
    )
    # Every chart for desktops and for phones.
    assert len(charts(page)) == 2 * 13


def test_an_empty_period_says_so_in_every_section() -> None:
    page = build(Question("", MARCH), EMPTY, AT)
    assert charts(page) == []
    assert page.count('class="empty"') == page.count("<section") == 12
    assert "No messages in this period." in page
    assert page.count("–") >= 4


def test_many_of_everything_is_cut_and_says_so() -> None:
    rows = told("x")
    (latency,), (agent,) = rows["latency"], rows["response_time"]
    rows["latency"] = [{**latency, "instance": f"shop-{n}"} for n in range(700)]
    rows["response_time"] = [{**agent, "agent": f"{'long name ' * 9}{n}"} for n in range(40)]
    page = build(Question("", MARCH), rows, AT)
    assert "Shown are the 6 instances that sent most; all 700 are in the numbers." in page
    assert "200 more rows are not shown here." in page
    assert "Shown are the 12 with most answers; all 40 are in the numbers." in page


def test_everything_it_asks_is_a_query_with_a_period_and_an_instance() -> None:
    for name in ASKED:
        assert {param.name for param in queries()[name].params} >= {"from", "to", "instance"}, name


@given(st.integers(946_684_800, 1_893_456_000), st.integers(60, 4000 * 86_400))
def test_every_day_of_a_period_is_in_one_step(begin: int, seconds: int) -> None:
    period = Period(datetime.fromtimestamp(begin, UTC), datetime.fromtimestamp(begin + seconds, UTC))
    axis = steps(period)
    days = period.days()
    assert sum(axis.sums((day, 1) for day in days)) == len(days)
    assert len(axis.spans) <= max(MAX_DAYS, 140)
    for before, after in zip(axis.spans, axis.spans[1:], strict=False):
        assert before.end_ms == after.begin_ms
    assert axis.spans[0].begin_ms <= period.begin.timestamp() * 1000 < axis.spans[0].end_ms
    assert axis.spans[-1].begin_ms < period.end.timestamp() * 1000 <= axis.spans[-1].end_ms


@given(st.lists(st.floats(0, 1e12), min_size=3, max_size=3))
def test_any_wait_has_a_place_on_an_axis_with_marks(seconds: list[float]) -> None:
    spec = waits("w", [Waits("a", sorted(seconds))]).draw(Width.HALF)
    for layer in spec["layer"]:
        x = layer["encoding"]["x"]
        low, high = x["scale"]["domain"]
        assert len(x["axis"]["values"]) >= 2
        assert 0 < low < high
        assert all(low <= row[x["field"]] <= high for row in spec["data"]["values"])


@pytest.mark.parametrize(
    ("seconds", "says"),
    [
        (None, "–"), (float("nan"), "–"), (0, "0 ms"), (0.4, "400 ms"), (1, "1 s"), (9.96, "10 s"), (59, "59 s"),
        (60, "1 min"), (5400, "1.5 h"), (86_400, "1 day"), (129_600, "1.5 days"), (8_640_000, "100 days"),
    ],
)  # fmt: skip
def test_durations(seconds: float | None, says: str) -> None:
    assert words.duration(seconds) == says


def test_shares_are_never_rounded_to_all_or_nothing() -> None:
    said = [words.share(*pair) for pair in ((0, 0), (0, 9), (9, 9), (1, 3), (99_999, 100_000), (1, 100_000))]
    assert said == ["–", "0 %", "100 %", "33.3 %", "> 99.9 %", "< 0.1 %"]


@given(st.lists(st.text(max_size=90), max_size=20), st.integers(8, 60))
def test_labels_differ_and_fit(texts: list[str], room: int) -> None:
    shown = words.fitted(texts, room)
    assert len(shown) == len(texts)
    # The number of a second one of the same look comes on top.
    assert all(words.cells(one) <= room + len(" (20)") for one in shown)
    plain = words.labels(texts)
    assert all(one.isprintable() and one for one in plain)
