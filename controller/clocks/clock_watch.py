"""Looks at this machine's wall clock, by asking chrony and linuxptp how it is, while that is wanted.

One thread, which runs a program at a time, each for a bounded time and with bounded output. `want` may be called by any
thread and returns at once.
"""

from __future__ import annotations

import ctypes
import shutil
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from controller.clocks.clock import Clock, chosen, chrony_clock, ptp_clock
from controller.domain.events import ClockRead, Event
from controller.runtime import RUN_DIR

PERIOD_S = 2.0
TIMEOUT_S = 3.0
ANSWER_BYTES_MAX = 1 << 16
CHRONYC = ("chronyc", "-n", "-c", "tracking")
PMC = ("pmc", "-u", "-b", "0", "-i")
PMC_QUESTIONS = ("GET TIME_STATUS_NP", "GET CURRENT_DATA_SET", "GET PORT_DATA_SET")
TIMEX = struct.Struct("@IqqqqI")
"""The head of the kernel's struct timex: modes, offset, frequency, largest and estimated error in us, status."""

TIMEX_BYTES = 256
STA_UNSYNC = 0x0040


class ClockWatch:
    """Posts ClockRead every PERIOD_S from `want(True)` to `want(False)`."""

    def __init__(self, post: Callable[[Event], None]) -> None:
        self._post = post
        self._is_wanted = threading.Event()
        self._thread = threading.Thread(target=self._run, name="clock watch", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def want(self, is_wanted: bool) -> None:
        if is_wanted:
            self._is_wanted.set()
        else:
            self._is_wanted.clear()

    def _run(self) -> None:
        while True:
            self._is_wanted.wait()
            self._post(ClockRead(read_clock()))
            time.sleep(PERIOD_S)


def read_clock() -> Clock:
    """How this machine's wall clock is, in the words of the program that sets it."""
    chrony, ptp = _answer(CHRONYC), _answer((*PMC, str(_directory() / "pmc.sock"), *PMC_QUESTIONS))
    return chosen(
        None if chrony is None else chrony_clock(chrony),
        None if ptp is None else ptp_clock(ptp, kernel_error_us()),
    )


def _directory() -> Path:
    """Where pmc can have the socket that ptp4l answers to; a service may write to few."""
    return RUN_DIR if RUN_DIR.is_dir() else RUN_DIR.parent


def kernel_error_us() -> int | None:
    """How far the kernel thinks that its clock may be off; None: it was not told for long, or never."""
    timex = ctypes.create_string_buffer(TIMEX_BYTES)  # no modes: nothing is changed
    if ctypes.CDLL(None).adjtimex(timex) < 0:
        return None
    _, _, _, error_us, _, status = TIMEX.unpack_from(timex)
    return None if status & STA_UNSYNC else int(error_us)


def _answer(command: Sequence[str]) -> str | None:
    """What a program prints; nothing if it fails or takes too long. None: this machine does not have it."""
    program = shutil.which(command[0])
    if program is None:
        return None
    try:
        process = subprocess.Popen(
            [program, *command[1:]], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
    except OSError:
        return ""
    timer = threading.Timer(TIMEOUT_S, process.kill)
    timer.start()
    with process:
        assert process.stdout is not None
        answer = process.stdout.read(ANSWER_BYTES_MAX)
        if len(answer) == ANSWER_BYTES_MAX:
            process.kill()
    timer.cancel()
    return "" if process.returncode else answer.decode(errors="replace")
