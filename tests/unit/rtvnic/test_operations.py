"""docs/operations.md: its commands exist, with those options, and its topology file is valid."""

from __future__ import annotations

import argparse
import importlib
import re
from pathlib import Path

import pytest

from controller.topology_file.load import parse
from rtvnic.__main__ import VERBS

TEXT = (Path(__file__).parents[3] / "docs/operations.md").read_text()
PLANNED = {"apply", "export", "pki", "store"}
"""Verbs that the page may name before they are there; their options are looked at once they are."""

COMMANDS = re.findall(r"(?:^ *|`|&& |bin/)rtvnic ([a-z]+)((?: [^`\n#&]*)?)", TEXT, re.MULTILINE)


def options_of(verb: str) -> set[str]:
    parser = argparse.ArgumentParser()
    importlib.import_module(f"rtvnic.{verb}").arguments(parser)
    return {option for action in parser._actions for option in action.option_strings}


def test_the_page_has_commands() -> None:
    assert {"bridge", "check", "controller", "doctor", "plan", "shim", "show", "tune"} <= {verb for verb, _ in COMMANDS}


@pytest.mark.parametrize(("verb", "words"), sorted(set(COMMANDS)))
def test_each_command_exists_with_its_options(verb: str, words: str) -> None:
    if verb in PLANNED - VERBS.keys():
        return
    assert verb in VERBS
    used = set(re.findall(r"(?<=\s)--[a-z-]+", words))
    assert used <= options_of(verb)


def test_its_topology_file_is_valid() -> None:
    (text,) = re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)
    network = parse(text.encode(), Path("topology.yaml"))
    assert network.hypervisors["left"].uplink.interface in TEXT
    assert network.vms["camera"].interface in TEXT
