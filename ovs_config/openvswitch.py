"""Find the system's Open vSwitch, or run a private one below a run directory.

Guarantee: `stop` and `stop_leftover` end exactly the two processes that were started here; `revive` starts one that has
died as it was before, with the same database and sockets. Any thread; blocks for up to some seconds.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

from controller.errors import CannotRun
from ovs_config.plan import DatapathType
from ovs_config.waiting import wait_until

INSTALL = "apt-get install openvswitch-switch"
OLDEST = (2, 17)
START_TIMEOUT_S = 15
STOP_TIMEOUT_S = 5
SCHEMA = Path(os.environ.get("OVS_PKGDATADIR", "/usr/share/openvswitch")) / "vswitch.ovsschema"

DATABASE = "conf.db"
VSWITCHD, OVSDB_SERVER = "ovs-vswitchd", "ovsdb-server"
DAEMONS = (VSWITCHD, OVSDB_SERVER)

_EXIT = {"ovs-vswitchd": ("exit", "--cleanup"), "ovsdb-server": ("exit",)}
"""The daemons in the order in which they end, and the ovs-appctl command that ends each."""


@dataclass(frozen=True)
class OpenVSwitch:
    """A running Open vSwitch; its sockets and process ids are in `directory`."""

    directory: Path
    vswitchd_pid: int
    private: bool
    version: str
    datapath_type: DatapathType

    @property
    def db_socket(self) -> str:
        return f"unix:{self.directory}/db.sock"

    @property
    def environment(self) -> Mapping[str, str]:
        """What makes ovs-vsctl, ovs-ofctl and ovs-appctl talk to this instance."""
        return {**os.environ, "OVS_RUNDIR": str(self.directory)}

    def run(self, program: str, *arguments: str) -> str:
        """What `program`, one of Open vSwitch's own, prints of this instance. Raises CannotRun."""
        return _output(program, *arguments, rundir=self.directory)

    def pid_of(self, daemon: str) -> int | None:
        """The process of one of DAEMONS; None when it does not run."""
        return _pid_of(daemon, self.directory)

    def revive(self, daemon: str) -> int:
        """Start one of DAEMONS of a private Open vSwitch again; its process id when it is ready. Raises CannotRun.

        That of an ovs-vswitchd is known when all bridges are there; without its ovsdb-server it waits for that.
        """
        if (running := self.pid_of(daemon)) is not None:
            return running
        _start_daemon(daemon, self.directory)
        if (pid := self.pid_of(daemon)) is None:
            raise CannotRun(f"{daemon} has died at once", f"its log says why: {self.directory / daemon}.log")
        return pid

    def stop(self) -> None:
        """End it if it is private; the system's own stays as it is."""
        if self.private:
            _end(self.directory)


def ensure_running(run_dir: Path) -> OpenVSwitch:
    """The system's Open vSwitch where it runs, else a new private one in `run_dir`/ovs. Raises CannotRun.

    A private one that a killed run left in `run_dir` is ended first.
    """
    return of_system() or _start_private(run_dir)


def of_system() -> OpenVSwitch | None:
    """The system's Open vSwitch, if it runs. Raises CannotRun."""
    directory = _system_directory()
    return _running(directory, private=False) if _answers(directory / "db.sock") else None


def local_db_socket(run_dir: Path) -> str:
    """Where the Open vSwitch of this machine answers: a private one in `run_dir`, or the system's. Raises CannotRun."""
    for directory in (run_dir / "ovs", _system_directory()):
        if _answers(directory / "db.sock"):
            return f"unix:{directory}/db.sock"
    raise CannotRun("Open vSwitch does not run", "systemctl start openvswitch-switch")


def stop_leftover(run_dir: Path) -> bool:
    """End the private Open vSwitch that a killed run left in `run_dir`. Whether there was one."""
    directory = run_dir / "ovs"
    if not directory.exists():
        return False
    _end(directory)
    return True


def _system_directory() -> Path:
    return Path(os.environ.get("OVS_RUNDIR", "/var/run/openvswitch"))


def _start_private(run_dir: Path) -> OpenVSwitch:
    _check_machine()
    stop_leftover(run_dir)
    directory = run_dir / "ovs"
    _start(directory)
    return _running(directory, private=True)


def _running(directory: Path, private: bool) -> OpenVSwitch:
    _check_machine()
    pid = _pid_of("ovs-vswitchd", directory)
    if pid is None:
        raise CannotRun(f"ovs-vswitchd does not run in {directory}", "systemctl restart openvswitch-switch")
    return OpenVSwitch(directory, pid, private, _version(), _datapath_type())


def lacks() -> Iterator[CannotRun]:
    """What Open vSwitch and RTvNIC need from this machine and do not find, each with its cure."""
    if os.geteuid() != 0:
        yield CannotRun("configuring network interfaces needs root", "run it again with sudo")
    if not Path("/dev/net/tun").exists():
        yield CannotRun("/dev/net/tun does not exist", "modprobe tun; in a container: --device /dev/net/tun")
    if shutil.which("ovs-vswitchd") is None or shutil.which("ovs-vsctl") is None:
        yield CannotRun("Open vSwitch is not installed", INSTALL)
    elif tuple(int(part) for part in _version().split(".")[:2]) < OLDEST:
        yield CannotRun(f"Open vSwitch {_version()} is too old; 2.17 is the oldest that works", INSTALL)


def installed() -> Mapping[str, str] | None:
    """`version` and `datapath` that a test bed uses here; None where Open vSwitch is not installed."""
    if shutil.which("ovs-vswitchd") is None:
        return None
    return {"version": _version(), "datapath": str(_datapath_type())}


def _check_machine() -> None:
    """Raises CannotRun for the first thing that the machine lacks."""
    for lack in lacks():
        raise lack


def _version() -> str:
    """Of the installed Open vSwitch; `0.0` if it does not tell."""
    found = re.search(r"\d+(\.\d+)+", _output("ovs-vswitchd", "--version"))
    return found.group() if found else "0.0"


def _datapath_type() -> DatapathType:
    """The kernel's datapath where its module is there or can be loaded."""
    module = Path("/sys/module/openvswitch")
    if not module.exists():
        with suppress(OSError):
            subprocess.run(["modprobe", "--quiet", "openvswitch"], capture_output=True, check=False)
    return DatapathType.SYSTEM if module.exists() else DatapathType.NETDEV


def _answers(db_socket: Path) -> bool:
    with closing(socket.socket(socket.AF_UNIX)) as probe:
        try:
            probe.connect(str(db_socket))
        except OSError:
            return False
    return True


def _start(directory: Path) -> None:
    """Start the two daemons; both are ready on return. What was started is ended again when anything fails."""
    directory.mkdir(parents=True, mode=0o700)
    remote = f"unix:{directory}/db.sock"
    try:
        _output("ovsdb-tool", "create", directory / DATABASE, SCHEMA)
        _start_daemon(OVSDB_SERVER, directory)
        _output("ovs-vsctl", f"--db={remote}", "--no-wait", "init")
        _start_daemon(VSWITCHD, directory)
        _output("ovs-vsctl", f"--db={remote}", f"--timeout={START_TIMEOUT_S}", "init")
    except BaseException:
        _end(directory)
        raise


def _start_daemon(program: str, directory: Path) -> None:
    remote = f"unix:{directory}/db.sock"
    words = [remote] if program == VSWITCHD else [str(directory / DATABASE), f"--remote=p{remote}"]
    _output(program, *words, *_daemon_options(program, directory), rundir=directory)


def _daemon_options(program: str, directory: Path) -> list[str]:
    base = directory / program
    return [
        f"--pidfile={base}.pid",
        f"--unixctl={base}.ctl",
        f"--log-file={base}.log",
        "--verbose=console:off",
        "--no-chdir",
        "--detach",
    ]


def _output(program: str, *arguments: str | Path, rundir: Path | None = None) -> str:
    """What `program` prints. Raises CannotRun with its last line of complaint."""
    environment = {**os.environ, "OVS_RUNDIR": str(rundir)} if rundir else None
    try:
        done = subprocess.run(
            [program, *arguments], capture_output=True, text=True, timeout=START_TIMEOUT_S, env=environment, check=False
        )
    except FileNotFoundError:
        raise CannotRun(f"{program} is not installed", INSTALL) from None
    except subprocess.TimeoutExpired:
        raise CannotRun(f"{program} did not answer within {START_TIMEOUT_S} s", "try again") from None
    if done.returncode:
        complaint = done.stderr.strip().splitlines() or ["no message"]
        raise CannotRun(f"{program} failed: {complaint[-1]}", f"reinstall it: {INSTALL}")
    return done.stdout


def _end(directory: Path) -> None:
    """End the daemons whose pid files are in `directory`, asking first, and remove it."""
    for program, command in _EXIT.items():
        pid = _pid_of(program, directory)
        if pid is not None:
            control = directory / f"{program}.ctl"
            subprocess.run(
                ["ovs-appctl", f"--timeout={STOP_TIMEOUT_S}", f"--target={control}", *command],
                capture_output=True,
                check=False,
            )
            _await_end(program, pid)
    shutil.rmtree(directory, ignore_errors=True)


def _await_end(program: str, pid: int) -> None:
    if not wait_until(lambda: not _is_running(program, pid), STOP_TIMEOUT_S):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not _is_running(program, pid), STOP_TIMEOUT_S)


def _pid_of(program: str, directory: Path) -> int | None:
    """The process in the pid file of `program`, if it is alive and really is that program."""
    try:
        pid = int((directory / f"{program}.pid").read_text())
    except (OSError, ValueError):
        return None
    return pid if _is_running(program, pid) else None


def _is_running(program: str, pid: int) -> bool:
    """Whether `pid` is a live process of `program`; a zombie is not."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(errors="replace")
    except OSError:
        return False
    return f"Name:\t{program}\n" in status and "State:\tZ" not in status
