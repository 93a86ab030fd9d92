"""YAML text as plain data that remembers where each part stands, without YAML's traps.

Reads parser events instead of building objects: no tag is ever followed, no alias expanded, nesting is bounded.
What different YAML readers understand differently (`off`, `10:20:30`, `010`, a key given twice) is a problem, not a
guess. Only whole decimal numbers, true, false and nothing are more than text; `1.5` stays text, as it was written.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from controller.errors import PROBLEMS_MAX, InvalidFile, Problem

MAX_BYTES = 1 << 20
MAX_DEPTH = 12

Place = tuple[str | int, ...]
"""Where in the file: the keys, and positions in lists from 0, on the way from the top."""

Position = tuple[int, int]
"""Line and column, from 1."""

_YAML_TAGS = "tag:yaml.org,2002:"
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_NOT_YAML = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_NOTHING = re.compile(r"~|null|Null|NULL|")
_BOOLEANS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_WHOLE = re.compile(r"-?(0|[1-9]\d{0,17})", re.ASCII)
_TRAPS = (
    (
        re.compile(r"(?i:yes|no|on|off)"),
        "'{}' means true or false to some YAML readers; put it in quotes",
    ),
    (
        re.compile(r"[-+]?[1-9][\d_]*(:[0-5]?\d)+(\.[\d_]*)?|[-+]?\d[\d_]*(:[0-5]?\d)+\.[\d_]*", re.ASCII),
        "'{}' means a number in base 60 to some YAML readers; put it in quotes",
    ),
    (
        re.compile(r"[-+]?0[0-7_]+|[-+]?0b[01_]+|[-+]?0x[\da-fA-F_]+|[-+]?[1-9][\d_]*_[\d_]*|\+\d+", re.ASCII),
        "'{}' is not a plain decimal number; write digits only, with no leading zero, or put it in quotes",
    ),
)


@dataclass(frozen=True)
class Finding:
    """One thing wrong at `place`: with its value, or with its key."""

    place: Place
    message: str
    at_key: bool = False


@dataclass
class Source:
    """The data of one file. `refused` are the places whose value is a problem already, whatever it should mean."""

    data: dict[str, Any] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    refused: set[Place] = field(default_factory=set)
    values: dict[Place, Position] = field(default_factory=dict)
    keys: dict[Place, Position] = field(default_factory=dict)
    containers: set[Place] = field(default_factory=set)

    def problem(self, finding: Finding) -> Problem:
        """`finding` with its line and column: those of the nearest part around it that is in the file."""
        place = finding.place
        while place not in self.values:
            place = place[:-1]
        at_key = finding.at_key or place in self.containers
        position = self.keys.get(place, self.values[place]) if at_key else self.values[place]
        return Problem(*position, one_line(path_text(place)), one_line(finding.message))


def path_text(place: Place) -> str:
    """`('vms', 'screen', 'ip', 1)` as `vms.screen.ip[1]`."""
    text = ""
    for part in place:
        text += f"[{part}]" if isinstance(part, int) else f".{part}"
    return text.removeprefix(".")


def read(content: bytes, file: str) -> Source:
    """The data in `content`. Raises InvalidFile if no data can be had; lesser problems are in the result."""
    if len(content) > MAX_BYTES:
        raise InvalidFile(file, [Problem(1, 1, "", "the file is too large; at most 1 MiB")])
    text = _decoded(content, file)
    reader = _Reader(text)
    try:
        reader.document()
    except _Unreadable as stop:
        raise InvalidFile(file, [*reader.source.problems, stop.problem]) from None
    except yaml.YAMLError as error:
        raise InvalidFile(file, [*reader.source.problems, _syntax_problem(error)]) from None
    return reader.source


class _Unreadable(Exception):
    """Nothing after this problem can be understood."""

    def __init__(self, position: Position, message: str) -> None:
        super().__init__(message)
        self.problem = Problem(*position, "", message)


class _Reader:
    """Fills a Source from the parser's events, one method for each kind of YAML node."""

    def __init__(self, text: str) -> None:
        self.source = Source()
        self._events: Iterator[Any] = yaml.parse(text, Loader=_LOADER)

    def document(self) -> None:
        """Read the only document. Raises _Unreadable, or YAMLError from the parser."""
        next(self._events)
        if isinstance(next(self._events), yaml.StreamEndEvent):
            raise _Unreadable((1, 1), "the file is empty; it needs at least 'version' and 'hypervisors'")
        first = next(self._events)
        data = self._value(first, ())
        if not isinstance(data, dict):
            raise _Unreadable(_position(first), "the file must be a mapping, such as 'version: 1' on its first line")
        self.source.data = data
        next(self._events)
        after = next(self._events)
        if not isinstance(after, yaml.StreamEndEvent):
            raise _Unreadable(_position(after), "a second document starts here; a file holds one, so remove the '---'")

    def _value(self, event: Any, place: Place) -> Any:
        self.source.values[place] = _position(event)
        if len(place) > MAX_DEPTH:
            raise _Unreadable(_position(event), f"nested too deeply; at most {MAX_DEPTH} levels")
        if isinstance(event, yaml.AliasEvent):
            return self._refuse(event, place, f"the alias '*{event.anchor}' is not allowed; write the value out")
        if event.tag is not None:
            self._refuse(
                event,
                place,
                f"the tag '{event.tag.replace(_YAML_TAGS, '!!')}' is not allowed; write the value without it",
            )
        if isinstance(event, yaml.ScalarEvent):
            return self._scalar(event, place)
        self.source.containers.add(place)
        return self._list(place) if isinstance(event, yaml.SequenceStartEvent) else self._mapping(place)

    def _list(self, place: Place) -> list[Any]:
        items: list[Any] = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            items.append(self._value(event, (*place, len(items))))
        return items

    def _mapping(self, place: Place) -> dict[str, Any]:
        entries: dict[str, Any] = {}
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            key = self._key(event)
            inner = (*place, key)
            if key in entries:
                line = self.source.keys[inner][0]
                self._report(event, inner, f"'{key}' is there twice, first in line {line}; keep one of them")
            self.source.keys[inner] = _position(event)
            value = self._value(next(self._events), inner)
            if self._key_is_plain(event, inner):
                entries[key] = value
        return entries

    def _key(self, event: Any) -> str:
        if not isinstance(event, yaml.ScalarEvent) or event.tag is not None:
            raise _Unreadable(_position(event), "a key must be a plain word")
        return str(event.value)

    def _key_is_plain(self, event: Any, place: Place) -> bool:
        """False, and a problem, for a key that YAML readers understand differently."""
        merges = event.implicit[0] and event.value == "<<"
        message = "the merge key '<<' is not allowed; write the keys out" if merges else _trap(event)
        if message:
            self._report(event, place, message)
        return not message

    def _scalar(self, event: Any, place: Place) -> Any:
        text = str(event.value)
        if not event.implicit[0]:
            return text
        if message := _trap(event):
            return self._refuse(event, place, message)
        if _WHOLE.fullmatch(text):
            return int(text)
        return None if _NOTHING.fullmatch(text) else _BOOLEANS.get(text, text)

    def _refuse(self, event: Any, place: Place, message: str) -> None:
        self.source.refused.add(place)
        self._report(event, place, message)

    def _report(self, event: Any, place: Place, message: str) -> None:
        if len(self.source.problems) == PROBLEMS_MAX:
            raise _Unreadable(_position(event), "more problems from here on")
        problem = Problem(*_position(event), one_line(path_text(place)), one_line(message))
        self.source.problems.append(problem)


def _decoded(content: bytes, file: str) -> str:
    """`content` as text. Raises InvalidFile at the first byte or character that YAML does not allow."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before, what = error.object[: error.start].decode(), "this is not UTF-8; save the file as UTF-8"
    else:
        found = _NOT_YAML.search(text)
        if found is None:
            return text
        before, what = text[: found.start()], f"the character U+{ord(found[0]):04X} is not allowed; remove it"
    line, column = before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1
    raise InvalidFile(file, [Problem(line, column, "", what)])


def _trap(event: Any) -> str:
    """Why a plain word means different things to different readers; empty if it does not."""
    if event.implicit[0]:
        for pattern, message in _TRAPS:
            if pattern.fullmatch(event.value):
                return message.format(event.value)
    return ""


def _position(event: Any) -> Position:
    return event.start_mark.line + 1, event.start_mark.column + 1


def _syntax_problem(error: yaml.YAMLError) -> Problem:
    mark = getattr(error, "problem_mark", None)
    what = getattr(error, "problem", None) or "cannot be read"
    if begin := getattr(error, "context_mark", None):
        what += f" in what begins at {begin.line + 1}:{begin.column + 1}"
    message = f"not valid YAML: {what}; check the indentation (spaces, no tabs), colons and quotes"
    line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
    return Problem(line, column, "", message)


def one_line(text: str) -> str:
    """`text` fit for one line of a terminal: no control characters, and the middle left out where it is long."""
    shown = text if len(text) <= 400 else f"{text[:200]} … {text[-200:]}"
    return "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in shown)
