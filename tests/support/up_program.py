"""`rtvnic up` and `rtvnic down` as a user runs them: processes of their own, with a run directory of their own."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench import snapshot

PATIENCE_S = 30.0


class UpProgram:
    """Runs them in `run_dir`, and knows what the machine looked like before."""

    def __init__(self, run_dir: Path, file: Path, system_openvswitch: Path) -> None:
        """`system_openvswitch` is the directory in which the system's Open vSwitch is looked for."""
        self.run_dir = run_dir
        self._file = file
        self._environment = {**os.environ, "RTVNIC_RUN_DIR": str(run_dir), "OVS_RUNDIR": str(system_openvswitch)}
        self._before = snapshot.take(run_dir)
        self._processes: list[subprocess.Popen[str]] = []

    def spawn(self, *options: str, under: Sequence[str] = (), verb: str = "up") -> subprocess.Popen[str]:
        """A run that need not come up, started by the command `under`."""
        words = [*under, sys.executable, "-m", "rtvnic", verb, *([str(self._file)] if verb == "up" else []), *options]
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        process = subprocess.Popen(words, text=True, env=self._environment, **pipes)
        self._processes.append(process)
        return process

    def start(self, *options: str) -> subprocess.Popen[str]:
        """A run that is up."""
        process = self.spawn(*options)
        assert process.stdout is not None
        assert select.select([process.stdout], [], [], PATIENCE_S)[0], "it did not come up"
        assert process.stdout.readline().startswith("domain"), process.communicate()
        return process

    def down(self) -> tuple[int, str]:
        return ended(self.spawn(verb="down"))

    def left(self) -> list[str]:
        """What is there now and was not at the beginning."""
        return snapshot.left_since(self._before, self.run_dir)

    def left_besides_files(self) -> list[str]:
        return snapshot.left_since(self._before, Path("/nonexistent"))

    def close(self) -> None:
        for process in self._processes:
            process.kill()
            process.communicate()
        self.down()


def ended(process: subprocess.Popen[str], *signals: signal.Signals) -> tuple[int, str]:
    """Exit code and standard error of a run that gets `signals` at once and ends."""
    for number in signals:
        process.send_signal(number)
    process.wait(PATIENCE_S)  # before its input ends, which would end a command line too
    return process.returncode, process.communicate()[1]


def processes(words: str) -> list[int]:
    """The live processes whose command line contains `words`."""
    found = snapshot.take(Path("/nonexistent")).processes
    return [int(process.split()[0]) for process in found if words in process]
