"""Keeps a private store running on this machine, whichever of its controllers does it.

Guarantee: whoever holds the lock of the run directory runs `rtvnic store` and starts it again when it dies; when the
holder is gone, however it went, the store goes with it and the next one takes over with the same file and socket. The
lock is the kernel's, so that nothing has to be cleaned up. One thread of its own.
"""

from __future__ import annotations

import fcntl
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from controller import notify
from controller.backoff import Backoff

LOG = logging.getLogger(__name__)

LOCK = "store.lock"
STOP_TIMEOUT_S = 5.0
RETRY_S = 1.0


class StoreKeeper:
    """Runs `rtvnic store WORDS` for as long as this process lasts and no other on the machine does."""

    def __init__(self, run_dir: Path, words: Sequence[str] = ()) -> None:
        self._lock_file = run_dir / LOCK
        self._words = [sys.executable, "-m", "rtvnic", "store", *words, "--die-with-parent", str(os.getpid())]
        self._is_stopping = threading.Event()
        self._process: subprocess.Popen[str] | None = None
        self._thread = threading.Thread(target=self._run, name="store keeper", daemon=True)

    @property
    def pid(self) -> int | None:
        """Of the store; None while another process keeps it."""
        return self._process.pid if self._process is not None else None

    def start(self) -> None:
        """Returns at once."""
        self._thread.start()

    def stop(self) -> None:
        """End the store if it runs here, and let the next one keep it."""
        self._is_stopping.set()
        process = self._process
        if process is not None:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(STOP_TIMEOUT_S)
            process.kill()
            self._thread.join()

    def _run(self) -> None:
        descriptor = self._acquire()
        try:
            self._keep()
        finally:
            self._lock_file.unlink(missing_ok=True)
            os.close(descriptor)

    def _acquire(self) -> int:
        """The lock, once no other process has it."""
        while True:
            try:
                self._lock_file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                descriptor = os.open(self._lock_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            except OSError as error:
                LOG.warning("no store can be kept: %s: %s", self._lock_file, error.strerror)
                time.sleep(RETRY_S)
                continue
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(descriptor), self._lock_file.stat()):
                    return descriptor
            os.close(descriptor)  # the former holder has removed the file between our opening and locking it

    def _keep(self) -> None:
        backoff = Backoff()
        while not self._is_stopping.is_set():
            started_s = time.monotonic()
            try:
                self._serve()
            except OSError as error:
                LOG.warning("the store cannot be started: %s", error)
            if not self._is_stopping.wait(backoff.pause_s(time.monotonic() - started_s)):
                LOG.warning("the store has died and is started again")

    def _serve(self) -> None:
        """Run a store until it ends. Raises OSError if it cannot be started."""
        environment = {name: value for name, value in os.environ.items() if name not in notify.VARIABLES}
        self._process = subprocess.Popen(
            self._words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, text=True, env=environment
        )
        if self._is_stopping.is_set():  # `stop` may have come before there was a process to end
            self._process.terminate()
        self._process.wait()
