"""A checklist for people: what was looked at, how it stands, the cure. `doctor` and `controller --check` print one."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum

from controller.errors import CannotRun
from rtvnic.progress import Progress
from rtvnic.table import aligned


class State(StrEnum):
    FINE = "fine"
    POOR = "poor"
    """It works, but deadlines suffer, or not all of it is to be had."""
    LACKING = "lacking"


@dataclass(frozen=True)
class Line:
    """One line of the checklist; `cure` is empty where all is fine."""

    what: str
    state: State
    found: str
    cure: str = ""


Check = Callable[[str], Iterator[Line]]
"""Looks at what it is given the name of."""


def lines_of(checks: Mapping[str, Check]) -> list[Line]:
    """What all of `checks` find, in their order, with progress."""
    progress = Progress(len(checks))
    lines: list[Line] = []
    for what, check in checks.items():
        progress.step(what)
        lines += tried(what, check)
    progress.end()
    return lines


def tried(what: str, check: Check) -> Iterator[Line]:
    """The lines of `check`; where it cannot be carried out, that is the finding."""
    try:
        yield from check(what)
    except CannotRun as error:
        yield Line(what, State.LACKING, error.what, error.cure)
    except OSError as error:
        yield Line(what, State.LACKING, str(error), "run it as root, outside a container")


def show(lines: Sequence[Line], as_json: bool) -> int:
    """Print the checklist. Returns the exit code: 1 if something is lacking."""
    if as_json:
        print(json.dumps([asdict(line) for line in lines], indent=2))
    else:
        print(aligned(("check", "state", "found"), [row for line in lines for row in _rows(line)]))
    return int(any(line.state is State.LACKING for line in lines))


def _rows(line: Line) -> Iterator[tuple[str, str, str]]:
    """The cure has one of its own, for both may be long."""
    yield line.what, line.state, line.found
    if line.cure:
        yield "", "", f"cure: {line.cure}"
