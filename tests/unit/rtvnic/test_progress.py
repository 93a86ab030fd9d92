"""Progress on a terminal and in a log."""

from __future__ import annotations

import io

from rtvnic.progress import Progress


def test_progress_in_a_log_is_a_line_for_each_part() -> None:
    log = io.StringIO()
    progress = Progress(2, log)
    progress.step("warm up")
    progress.step("run")
    progress.end()
    assert log.getvalue() == "1/2 warm up\n2/2 run\n"


def test_progress_on_a_terminal_stays_on_one_line() -> None:
    terminal = io.StringIO()
    terminal.isatty = lambda: True  # type: ignore[method-assign]
    progress = Progress(2, terminal)
    progress.step("warm up")
    progress.end()
    assert "\n" not in terminal.getvalue()
    assert terminal.getvalue().endswith("\r\033[K")


def test_a_note_is_for_a_terminal_only() -> None:
    log, terminal = io.StringIO(), io.StringIO()
    terminal.isatty = lambda: True  # type: ignore[method-assign]
    for stream in (log, terminal):
        progress = Progress(1, stream)
        progress.step("run")
        progress.note("3 s")
    assert log.getvalue() == "1/1 run\n"
    assert terminal.getvalue().endswith("\r\033[K1/1 run (3 s)")
