"""The log of a process: one line an entry, for people or for programs, and never more than somebody can read.

Guarantee: whatever a message quotes, its entry begins at the head of one line and no other line looks like an entry; of
the same message of one logger at most MOST a second are written, and how many were not. Any thread.
"""

from __future__ import annotations

import json
import logging
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, TextIO

MOST = 20
WINDOW_S = 1.0
PROGRAMS = ("controller", "ovs_config")
"""The packages whose entries `--log-level` is about; others' begin at WARNING."""

_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0))}
_CONTROLS |= {code: f"\\u{code:04x}" for code in (0x2028, 0x2029, *range(0x202A, 0x202F), *range(0x2066, 0x206A))}
_CONTROLS |= {ord("\n"): "\\n", ord("\r"): "\\r", ord("\t"): "\\t"}
"""What ends a line, moves a terminal's cursor or turns the direction of text, as it is written instead."""

_STANDARD = {*vars(logging.makeLogRecord({})), "message", "asctime"}


class LogFormat(StrEnum):
    TEXT = "text"
    JSON = "json"


def start_log(level: str, log_format: LogFormat, domain: str, stream: TextIO | None = None) -> None:
    """Have this process log to `stream` (standard error), its own entries from `level` on, others' warnings. Once."""
    handler = LimitedHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter(domain) if log_format is LogFormat.JSON else TextFormatter())
    logging.getLogger().addHandler(handler)
    for program in PROGRAMS:
        logging.getLogger(program).setLevel(level.upper())


def escaped(text: str) -> str:
    """`text` on one line, with nothing in it that a terminal obeys."""
    return text.translate(_CONTROLS)


def timestamp(record: logging.LogRecord) -> str:
    """When it was, in UTC, to the millisecond: RFC 3339."""
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class TextFormatter(logging.Formatter):
    """Time, level, logger, message. The lines of a traceback follow, indented."""

    def format(self, record: logging.LogRecord) -> str:
        entry = f"{timestamp(record)} {record.levelname} {record.name}: {escaped(record.getMessage())}"
        trace = self.formatException(record.exc_info).splitlines() if record.exc_info else []
        return "\n".join([entry, *(f"    {escaped(line)}" for line in trace)])


class JsonFormatter(logging.Formatter):
    """An object a line: time, level, logger, message, domain, `exception` where there is one, and `extra`'s fields."""

    def __init__(self, domain: str) -> None:
        super().__init__()
        self._domain = domain

    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, Any] = {
            "time": timestamp(record),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            "domain": self._domain,
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        extra = {name: value for name, value in vars(record).items() if name not in _STANDARD}
        return json.dumps(extra | entry, default=str)


@dataclass
class _Window:
    """What became of one message in one second."""

    since_s: float
    written: int = 0
    left_out: int = 0
    last: logging.LogRecord | None = None


class LimitedHandler(logging.StreamHandler[TextIO]):
    """Leaves out what comes too often; says how often and what was the last of it, before the next entry or at the end.

    The same message: the same text before its arguments are put in, of the same logger and level.
    """

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self._windows: dict[tuple[str, int, str], _Window] = {}

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._emit(record)
        except Exception:
            self.handleError(record)

    def _emit(self, record: logging.LogRecord) -> None:
        self._close_windows(record.created)
        key = record.name, record.levelno, str(record.msg)
        window = self._windows.setdefault(key, _Window(record.created))
        if window.written < MOST:
            window.written += 1
            super().emit(record)
        else:
            window.left_out += 1
            window.last = record

    def close(self) -> None:
        """Say what was left out until now, too."""
        self._close_windows(float("inf"))
        super().close()

    def _close_windows(self, now_s: float) -> None:
        """Of those that have lasted long enough, or whose clock was set back."""
        for key, window in list(self._windows.items()):
            if not 0 <= now_s - window.since_s < WINDOW_S:
                del self._windows[key]
                if window.last is not None:
                    self._say_repeated(window.last, window.left_out)

    def _say_repeated(self, last: logging.LogRecord, count: int) -> None:
        """Whoever logs next is not to hear that `last` cannot be put into words."""
        try:
            super().emit(_repeated(last, count))
        except Exception:
            self.handleError(last)


def _repeated(last: logging.LogRecord, count: int) -> logging.LogRecord:
    fields = {**vars(last), "msg": "... repeated %d times; the last: %s", "args": (count, last.getMessage())}
    return logging.makeLogRecord({**fields, "exc_info": None})
