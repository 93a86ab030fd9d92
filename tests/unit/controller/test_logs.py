"""Log entries: what a program reads of them, what nobody can forge, and how many there are."""

from __future__ import annotations

import io
import json
import logging
import sys
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.logs import (
    MOST,
    PROGRAMS,
    JsonFormatter,
    LimitedHandler,
    LogFormat,
    TextFormatter,
    escaped,
    start_log,
)

AT_S = 1_764_075_652.25


def record(message: str, *args: object, at_s: float = AT_S, name: str = "controller.test", **fields: object):  # type: ignore[no-untyped-def]
    made = logging.LogRecord(name, logging.WARNING, "file.py", 1, message, args, None)
    made.created = at_s
    vars(made).update(fields)
    return made


def test_an_entry_for_programs() -> None:
    line = JsonFormatter("left").format(record("the switch %s is gone", "left", bridge="left", took_ns=5))
    assert json.loads(line) == {
        "time": "2025-11-25T13:00:52.250Z",
        "level": "WARNING",
        "logger": "controller.test",
        "message": "the switch left is gone",
        "domain": "left",
        "bridge": "left",
        "took_ns": 5,
    }


def test_extra_fields_take_no_place_of_others() -> None:
    line = JsonFormatter("left").format(record("x", domain="right", level="DEBUG", time=0))
    assert json.loads(line) | {"domain": "left", "level": "WARNING"} == json.loads(line)


def test_what_json_does_not_know_is_text() -> None:
    line = JsonFormatter("left").format(record("x", peers={"right"}, error=OSError(2, "gone")))
    assert json.loads(line)["error"] == "[Errno 2] gone"


def test_an_entry_for_people() -> None:
    entry = TextFormatter().format(record("the switch %s is gone", "left"))
    assert entry == "2025-11-25T13:00:52.250Z WARNING controller.test: the switch left is gone"


def with_traceback(formatter: logging.Formatter) -> str:
    try:
        raise ValueError("first\n2025-11-25T13:00:52.250Z ERROR forged: entry")
    except ValueError:
        return formatter.format(record("it failed", exc_info=sys.exc_info()))


def test_a_traceback_is_indented_below_its_entry() -> None:
    first, *others = with_traceback(TextFormatter()).splitlines()
    assert first.endswith("it failed")
    assert others and all(line.startswith("    ") for line in others)


def test_a_traceback_is_a_field_for_programs() -> None:
    line = with_traceback(JsonFormatter("left"))
    assert line.count("\n") == 0
    assert "ValueError: first\n" in json.loads(line)["exception"]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\nb\rc\td", r"a\nb\rc\td"),
        ("\x1b[2J", r"\x1b[2J"),
        ("\x00\x7f\x9b", r"\x00\x7f\x9b"),
        ("a\u2028b\u202ec", r"a\u2028b\u202ec"),
        ("Grüße 5 µs", "Grüße 5 µs"),
    ],
)
def test_what_a_terminal_would_obey_is_shown(text: str, shown: str) -> None:
    assert escaped(text) == shown


@given(st.text())
def test_no_message_makes_two_entries(text: str) -> None:
    for formatter in (TextFormatter(), JsonFormatter(text)):
        entry = formatter.format(record("peer says %s", text, name=text and "controller.test", note=text))
        assert len(entry.splitlines()) == 1


class Log:
    """What a LimitedHandler writes of entries at literal times."""

    def __init__(self) -> None:
        self._stream = io.StringIO()
        self.handler = LimitedHandler(self._stream)
        self.handler.setFormatter(logging.Formatter("%(name)s %(message)s"))

    def tell(self, message: str, *args: object, at_s: float, name: str = "a") -> None:
        self.handler.handle(record(message, *args, at_s=at_s, name=name))

    @property
    def lines(self) -> list[str]:
        return self._stream.getvalue().splitlines()


def test_what_comes_too_often_is_counted_in_its_place() -> None:
    log = Log()
    for number in range(MOST + 5):
        log.tell("port %d", number, at_s=10.0)
    assert log.lines == [f"a port {number}" for number in range(MOST)]
    log.tell("other", at_s=11.0)
    assert log.lines[MOST:] == [f"a ... repeated 5 times; the last: port {MOST + 4}", "a other"]


def test_other_messages_and_loggers_have_room_of_their_own() -> None:
    log = Log()
    for _ in range(MOST + 1):
        log.tell("one", at_s=10.0)
    log.tell("two", at_s=10.5)
    log.tell("one", at_s=10.5, name="b")
    assert log.lines[MOST:] == ["a two", "b one"]


def test_after_a_second_there_is_room_again() -> None:
    log = Log()
    for at_s in (10.0, 10.999, 11.0, 12.5):
        for _ in range(MOST):
            log.tell("one", at_s=at_s)
    assert log.lines.count("a one") == 3 * MOST
    assert log.lines.count(f"a ... repeated {MOST} times; the last: one") == 1


def test_a_clock_that_is_set_back_silences_nothing() -> None:
    log = Log()
    for _ in range(MOST + 1):
        log.tell("one", at_s=1000.0)
    log.tell("one", at_s=10.0)
    assert log.lines[MOST:] == ["a ... repeated 1 times; the last: one", "a one"]


def test_the_end_says_what_was_left_out() -> None:
    log = Log()
    for _ in range(MOST + 2):
        log.tell("one", at_s=10.0)
    log.handler.close()
    assert log.lines[MOST:] == ["a ... repeated 2 times; the last: one"]


@pytest.fixture
def _logging() -> Iterator[None]:
    """Logging as it was, afterwards."""
    root, levels = logging.getLogger(), {name: logging.getLogger(name).level for name in PROGRAMS}
    yield
    for handler in [each for each in root.handlers if isinstance(each, LimitedHandler)]:
        root.removeHandler(handler)
    for name, former in levels.items():
        logging.getLogger(name).setLevel(former)


@pytest.mark.usefixtures("_logging")
def test_a_process_logs_its_own_from_its_level_on_and_others_warnings() -> None:
    stream = io.StringIO()
    start_log("info", LogFormat.JSON, "left", stream)
    for name in (*PROGRAMS, "httpx"):
        logging.getLogger(name).info("hello")
        logging.getLogger(name).debug("hello")
    found = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [(entry["logger"], entry["domain"]) for entry in found] == [(name, "left") for name in PROGRAMS]


def test_an_entry_that_cannot_be_put_into_words_harms_none_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging, "raiseExceptions", False)
    log = Log()
    for _ in range(MOST + 1):
        log.tell("%d of %d", 1, at_s=10.0)
    log.tell("other", at_s=11.0)
    assert log.lines == ["a other"]
