"""docs/security.md: the tests and limits that it names are there, and no threat or limit is without its test."""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
PAGE = (TESTS.parent / "docs" / "security.md").read_text()
NAMED_TEST = re.compile(r"`(test_\w+)::(test_\w+)`")


def functions(module: str) -> set[str]:
    """The tests in files of that name."""
    bodies = [ast.parse(file.read_text()).body for file in TESTS.rglob(f"{module}.py")]
    return {node.name for body in bodies for node in body if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize(("module", "test"), sorted(set(NAMED_TEST.findall(PAGE))))
def test_a_test_that_is_named_is_there(module: str, test: str) -> None:
    assert test in functions(module)


@pytest.mark.parametrize("limit", sorted(set(re.findall(r"`((?:controller|dataplane)(?:\.\w+)+\.[A-Z]\w+)`", PAGE))))
def test_a_limit_that_is_named_is_there(limit: str) -> None:
    module, _, name = limit.rpartition(".")
    assert hasattr(importlib.import_module(module), name)


def test_every_threat_and_every_limit_has_its_test() -> None:
    for section in ("Threats", "Limits"):
        (text,) = re.findall(rf"^## {section}$(.*?)^## ", PAGE, re.MULTILINE | re.DOTALL)
        rows = [line for line in text.splitlines() if line.startswith("| ") and "proved by" not in line]
        assert len(rows) > 10
        assert [row for row in rows if not NAMED_TEST.search(row)] == []
