"""`rtvnic check`: says whether topology files are valid, and everything that is wrong with them."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from controller.errors import InvalidFile, RtvnicError
from controller.model import Network
from controller.topology_file.load import load
from controller.topology_file.schema import json_schema


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = "Exit code: 0 if all files are valid, 1 if one is not, 2 if one cannot be read."
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("files", nargs="*", default=[], metavar="FILE", type=Path, help="topology files (YAML)")
    what.add_argument("--schema", action="store_true", help="print the JSON Schema of topology files")
    parser.add_argument("--json", action="store_true", help="print the results as JSON")


def run(args: argparse.Namespace) -> int:
    """0 if all files are valid, 1 if one is not, 2 if one cannot be read. Problems go to stderr, or into the JSON."""
    if args.schema:
        print(json.dumps(json_schema(), indent=2))
        return 0
    checked = {file: _check(file) for file in args.files}
    if args.json:
        print(json.dumps([_as_json(file, outcome) for file, outcome in checked.items()], indent=2))
    else:
        for file, outcome in checked.items():
            _print(file, outcome)
    return max(outcome.exit_code if isinstance(outcome, RtvnicError) else 0 for outcome in checked.values())


def _check(file: Path) -> Network | RtvnicError:
    try:
        return load(file)
    except RtvnicError as error:
        return error


def _print(file: Path, outcome: Network | RtvnicError) -> None:
    if isinstance(outcome, RtvnicError):
        print(outcome, file=sys.stderr)
    else:
        counts = ", ".join(f"{what} {count}" for what, count in _counts(outcome).items())
        print(f"{file}: valid ({counts})")


def _as_json(file: Path, outcome: Network | RtvnicError) -> dict[str, Any]:
    if isinstance(outcome, InvalidFile):
        return {"file": str(file), "valid": False, "problems": [vars(problem) for problem in outcome.problems]}
    if isinstance(outcome, RtvnicError):
        return {"file": str(file), "valid": False, "error": str(outcome)}
    return {"file": str(file), "valid": True, "counts": _counts(outcome)}


def _counts(network: Network) -> dict[str, int]:
    sections = ("hypervisors", "switches", "links", "vms", "classes", "channels")
    return {section: len(getattr(network, section)) for section in sections}
