"""docs/results.md: whoever runs `make bench` runs the commands that its figures are of, and each of them can be run."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import pytest

from rtvnic import bench

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs/results.md").read_text()
SCRIPT = (ROOT / "scripts/bench").read_text()
COMMANDS = sorted(set(re.findall(r"^\|[^|]+\| `rtvnic bench ([^`]+)` \|[^|]+\|$", PAGE, re.MULTILINE)))


def test_make_bench_runs_the_commands_of_the_page() -> None:
    assert sorted(re.findall(r'^    "(.+)"$', SCRIPT, re.MULTILINE)) == COMMANDS


def test_every_figure_has_its_command() -> None:
    table = PAGE[PAGE.index("| claim | command | seen |") :].split("\n\n")[0].splitlines()[2:]
    assert [line for line in table if not re.search(r"\| `rtvnic bench [^`]+` \|", line)] == []


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_is_one_that_bench_takes(command: str) -> None:
    parser = argparse.ArgumentParser(exit_on_error=False)
    bench.arguments(parser)
    assert parser.parse_args(command.split()).experiment == command.split()[0]
