"""Child processes of a test bed: started, waited for, started again when they die, ended.

Each leads a session of its own, so that Ctrl-C reaches only us and we end them in order; each ends by itself when we
do. Standard error goes to a log file. One thread for each child waits for its end and starts it again, whatever keeps
it from starting; `stop` returns, whatever a child does.
"""

from __future__ import annotations

import os
import select
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from controller.backoff import Backoff
from controller.errors import CannotRun

READY = "ready\n"
READY_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 10.0


class Child:
    """`rtvnic WORDS --die-with-parent PID`, which prints `ready` when it is. `on_death` hears of each unwanted end."""

    def __init__(self, name: str, words: Sequence[str], log: Path, on_death: Callable[[str], None]) -> None:
        self.name = name
        self._words = [sys.executable, "-m", "rtvnic", *words, "--die-with-parent", str(os.getpid())]
        self._log = log
        self._on_death = on_death
        self._is_stopping = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name=f"watch {name}", daemon=True)
        self._process = self._start()

    @property
    def pid(self) -> int:
        return self._process.pid

    def await_ready(self) -> None:
        """Return when it is ready; from then on it is started again when it dies. Raises CannotRun if it is not."""
        if not self._is_ready():
            raise CannotRun(f"the {self.name} did not start", self._last_words())
        self._watcher.start()

    def terminate(self) -> None:
        """Tell it to end, for good, without waiting."""
        self._is_stopping.set()
        self._process.terminate()

    def reap(self) -> None:
        """Return when it has ended, after `terminate`; if need be by force."""
        if self._watcher.ident is None:  # it never was ready; that it has ended is all that there is to wait for
            self._watcher.start()
        self._watcher.join(STOP_TIMEOUT_S)
        self._process.kill()
        self._watcher.join()
        self._close()

    def _start(self) -> subprocess.Popen[str]:
        with self._log.open("a") as log:
            return subprocess.Popen(
                self._words,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
            )

    def _is_ready(self) -> bool:
        """Whether it says so within READY_TIMEOUT_S; its line comes whole."""
        assert self._process.stdout is not None
        has_spoken, _, _ = select.select([self._process.stdout], [], [], READY_TIMEOUT_S)
        return bool(has_spoken) and self._process.stdout.readline() == READY

    def _close(self) -> None:
        """Our end of its pipe, once it has ended."""
        assert self._process.stdout is not None
        self._process.stdout.close()

    def _watch(self) -> None:
        """Returns when it has ended and is not wanted any more."""
        backoff = Backoff()
        while True:
            started_s = time.monotonic()
            self._process.wait()
            if self._is_stopping.wait(backoff.pause_s(time.monotonic() - started_s)):
                return
            self._on_death(f"the {self.name} has died and is started again; its log is {self._log}")
            self._restart()

    def _restart(self) -> None:
        """Start it again; one that cannot be started or does not get ready is as one that has died."""
        self._close()
        try:
            self._process = self._start()
        except OSError as error:
            self._on_death(f"the {self.name} cannot be started: {error}")
            return
        if self._is_stopping.is_set() or not self._is_ready():  # `terminate` may have met the former process
            self._process.kill()

    def _last_words(self) -> str:
        lines = self._log.read_text().strip().splitlines()
        return lines[-1] if lines else "it did not say why"


def stop(children: Sequence[Child]) -> None:
    """End all of `children` at once."""
    for child in children:
        child.terminate()
    for child in children:
        child.reap()
