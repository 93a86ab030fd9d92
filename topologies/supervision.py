"""Starts the daemons of a private Open vSwitch again when they die, as systemd does with the system's own.

One thread for each daemon: an ovs-vswitchd that starts waits for its ovsdb-server.
"""

from __future__ import annotations

import os
import select
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from controller.backoff import Backoff
from controller.errors import CannotRun
from ovs_config.openvswitch import DAEMONS, OpenVSwitch

POLL_S = 0.5


class Supervisor:
    """Watches over `openvswitch` from `start` to `stop`.

    `on_death` hears of each death, and of all that failed afterwards; `on_revival` gets the name of the daemon and its
    new process id.
    """

    def __init__(
        self, openvswitch: OpenVSwitch, on_death: Callable[[str], None], on_revival: Callable[[str, int], None]
    ) -> None:
        self._openvswitch = openvswitch
        self._on_death = on_death
        self._on_revival = on_revival
        self._is_stopping = threading.Event()
        self._threads = [
            threading.Thread(target=self._watch, args=(daemon,), name=f"watch {daemon}", daemon=True)
            for daemon in DAEMONS
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Start nothing any more. Waits for a start that is under way."""
        self._is_stopping.set()
        for thread in self._threads:
            thread.join()

    def _watch(self, daemon: str) -> None:
        backoff = Backoff()
        pid = self._openvswitch.pid_of(daemon)
        while not self._is_stopping.is_set():
            started_s = time.monotonic()
            if pid is not None and not self._has_ended(pid):
                return
            pause_s = backoff.pause_s(time.monotonic() - started_s)
            if self._is_stopping.wait(pause_s):
                return
            pid = self._revive(daemon)

    def _has_ended(self, pid: int) -> bool:
        """Returns at its end; False when that is of no interest any more."""
        with suppress(ProcessLookupError):
            process = os.pidfd_open(pid)
            try:
                while not select.select([process], [], [], POLL_S)[0]:
                    if self._is_stopping.is_set():
                        return False
            finally:
                os.close(process)
        return not self._is_stopping.is_set()

    def _revive(self, daemon: str) -> int | None:
        self._on_death(f"{daemon} has died and is started again")
        try:
            pid = self._openvswitch.revive(daemon)
        except (CannotRun, OSError) as error:
            self._on_death(f"{daemon} cannot be started: {error}")
            return None
        try:
            self._on_revival(daemon, pid)
        except Exception as error:  # whatever it is, the daemon runs, and is to be started again when it dies
            self._on_death(f"{daemon} runs again, but not all is as it was: {error}")
        return pid
