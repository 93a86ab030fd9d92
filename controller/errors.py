"""Every error that RTvNIC raises on purpose, and the exit code that each leads to.

RtvnicError                 base: one message for a person, no traceback
├── AnswerIsNo     exit 1   the question was understood; the answer is no
│   ├── InvalidFile         a topology file with one or more problems, all of them listed
│   ├── InvalidChannel      one channel's entry with one or more problems, all of them listed
│   ├── UnknownChannel      no channel has the name
│   ├── NotAdmitted         the links cannot keep what is asked for; every reason is listed
│   ├── OverQuota           a guest asks for more than the topology file lets it have
│   ├── Conflict            what is there already does not go together with what is asked for
│   └── Outdated            what is there is not what the asker has seen
└── CannotRun      exit 2   this machine lacks something; `cure` names the command that helps
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

PROBLEMS_MAX = 1000
"""Told of one file: whoever has written more has made the same mistake in each line, or means to keep us busy."""


class RtvnicError(Exception):
    """Base of all errors meant for a person. `str(error)` is the whole message."""

    exit_code = 2


class AnswerIsNo(RtvnicError):
    """The request was understood and is refused, invalid or missed."""

    exit_code = 1


class CannotRun(RtvnicError):
    """The machine cannot do what was asked. `cure` is what the reader should run or change."""

    def __init__(self, what: str, cure: str) -> None:
        super().__init__(f"{what}; {cure}")
        self.what = what
        self.cure = cure


@dataclass(frozen=True, order=True)
class Problem:
    """One thing wrong in a topology file. `line` and `column` count from 1."""

    line: int
    column: int
    path: str
    message: str

    def text(self, file: str) -> str:
        where = f"{self.path}: " if self.path else ""
        return f"{file}:{self.line}:{self.column}: {where}{self.message}"


class InvalidFile(AnswerIsNo):
    """A topology file that cannot be used. Carries every problem found, in file order, up to PROBLEMS_MAX."""

    def __init__(self, file: str, problems: Sequence[Problem]) -> None:
        self.file = file
        told, more = (found := sorted(problems))[:PROBLEMS_MAX], found[PROBLEMS_MAX:]
        marks = [Problem(each.line, each.column, "", "more problems from here on; mend those before") for each in more]
        self.problems = (*told, *marks[:1])
        super().__init__("\n".join(problem.text(file) for problem in self.problems))


class InvalidChannel(AnswerIsNo):
    """A channel's entry that cannot be used. `problems` are its keys (empty: the entry) and what is wrong with each."""

    def __init__(self, problems: Sequence[tuple[str, str]]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(f"{key}: {message}" if key else message for key, message in self.problems))


class UnknownChannel(AnswerIsNo):
    """There is no channel of that name."""


@dataclass(frozen=True)
class Offer:
    """What would be admitted of a channel: the smallest deadline, and the largest rate, each with the rest as asked.

    None: no such value would do.
    """

    deadline_ns: int | None = None
    rate_bps: int | None = None


class NotAdmitted(AnswerIsNo):
    """Channels whose deadlines the links cannot keep. `reasons` say which link, and what would be accepted.

    `offer` has that in numbers, for one who has asked for one channel.
    """

    def __init__(self, reasons: Sequence[str], offer: Offer | None = None) -> None:
        self.reasons = tuple(reasons)
        self.offer = offer or Offer()
        super().__init__("\n".join(self.reasons))


class OverQuota(AnswerIsNo):
    """A guest asks for more channels, rate or burst than its VM may have, or for a shorter deadline."""


class Conflict(AnswerIsNo):
    """A name that is taken, a channel of another owner, or packets that two channels would take."""


class Outdated(AnswerIsNo):
    """A channel that has been changed since the asker has read it, or is there though it should not be."""
