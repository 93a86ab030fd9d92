"""docs/store.md names every column of the schema."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from support.stores import record

from controller.store.database import SCHEMA
from controller.store.records import STANDING_COLUMNS, row_of
from controller.topology_file.schema import File

TABLES = json.loads(SCHEMA.read_text())["tables"]
PAGE = (Path(__file__).parents[4] / "docs" / "store.md").read_text()


def documented(table: str) -> set[str]:
    """The columns in the page's table below the heading of that name."""
    section = re.search(rf"^### {table}$(.*?)(?=^##|\Z)", PAGE, re.MULTILINE | re.DOTALL)
    rows = re.findall(r"^\| ([^|]*)\|", section.group(1), re.MULTILINE) if section else []
    return {name for row in rows for name in re.findall(r"`(\w+)`", row)}


@pytest.mark.parametrize("table", TABLES)
def test_every_column_is_documented_and_no_other(table: str) -> None:
    assert documented(table) == set(TABLES[table]["columns"])


def test_a_record_fills_every_column_of_its_table() -> None:
    assert set(row_of(record("video"))) | STANDING_COLUMNS == set(TABLES["Channel"]["columns"])


def test_every_table_and_every_column_has_a_largest_size() -> None:
    for name, table in TABLES.items():
        assert table["maxRows"] <= 1 << 16, name
        for column, described in table["columns"].items():
            kind = described["type"] if isinstance(described["type"], dict) else {"key": described["type"]}
            assert isinstance(kind.get("max", 1), int), column
            for part in (kind["key"], kind.get("value", "integer")):
                is_text = part == "string" or (isinstance(part, dict) and part["type"] == "string")
                assert not is_text or "maxLength" in part or "enum" in part, column


def test_a_channel_may_concern_every_domain_of_a_file() -> None:
    """Those of its ends, and of all Open vSwitch switches between them."""
    most = next(each.max_length for each in File.model_fields["hypervisors"].metadata if hasattr(each, "max_length"))
    assert TABLES["Channel"]["columns"]["domains"]["type"]["max"] == most
