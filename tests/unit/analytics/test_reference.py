"""docs/analytics.md tells the tables and queries that there are."""

from __future__ import annotations

import re
from pathlib import Path

from analytics import reference
from analytics.schema.migrations import migrations

ROOT = Path(__file__).parents[3]


def test_the_document_is_made_of_schema_and_queries() -> None:
    assert (ROOT / "docs" / "analytics.md").read_text() == reference.document(), (
        "python -m analytics.reference > docs/analytics.md"
    )


def test_no_table_column_or_view_is_left_out() -> None:
    text = "\n".join(one.text for one in migrations())
    made = re.findall(r"CREATE TABLE IF NOT EXISTS \{table:(\w+)\}", text)
    assert [table.name for table in reference.tables()] == made
    columns = re.findall(r"^    (\w+) .*COMMENT '", text, re.MULTILINE)
    assert [column.name for table in reference.tables() for column in table.columns] == columns
    assert [name for name, _ in reference.views()] == re.findall(r"CREATE VIEW IF NOT EXISTS \{view:(\w+)\}", text)
