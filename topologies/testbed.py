"""A topology file as a running network on this machine: VMs, switches, controllers, shims. All of it goes again.

Order: the controllers first, for Open vSwitch waits long after a controller that does not listen; then links, then
bridges, then shims. What is removed is found by its marks and not by what this process remembers: the same sweep cleans
up at the end and, at the next start, after a run that was killed. Where a bridge is in service that `rtvnic bridge` has
made there is no sweep and no run.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import httpx
from pyroute2 import IPRoute

from controller.errors import CannotRun
from controller.logs import LogFormat
from controller.model import Endpoint, Network, Scheduler, SwitchKind
from controller.network.wiring import PortRole, ports_of, shim_interface
from controller.run_lock import held
from controller.runtime import RUN_DIR, STORE_SOCKET, shim_socket
from dataplane.state import remove_states
from ovs_config.apply import apply, remove_all
from ovs_config.links import mark, remove_links
from ovs_config.openvswitch import DAEMONS, VSWITCHD, ensure_running, of_system, stop_leftover
from ovs_config.ovsdb import Ovsdb, connect, lasting_bridges
from ovs_config.plan import DatapathType, plan_bridge
from ovs_config.realtime import VSWITCHD_PRIORITY, data_plane_cpus, make_real_time, real_time, usable_cpus
from topologies import cables
from topologies.interruption import uninterrupted
from topologies.processes import Child, stop
from topologies.supervision import Supervisor
from topologies.vms import Vms

CPUS = data_plane_cpus(usable_cpus())
"""Of Open vSwitch and the shims; all of them if there are too few to share out."""

USERSPACE_TAP = "ovs-netdev"
"""What Open vSwitch adds to the bridges' own interfaces."""

STORE_SERVER = "store server"
STORE = f"unix:{STORE_SOCKET}"
STORE_FILE = RUN_DIR / "store.db"

LOG = "log"
INSTALL_TIMEOUT_S = 30.0
POLL_S = 0.05
REST_TIMEOUT_S = 5.0


class Testbed:
    """The network of `network.file` while a with block lasts; with `scheduler` at every uplink if that is given.

    With `overrides_admission` also one that asks for more than its links can keep. Its channels are in the channel
    store at `store`; without that in one of its own, which ends with it. `log_format` is that of its controllers' logs.
    `on_stage` hears what happens, for people.
    Raises CannotRun; nothing is left behind then either.
    """

    __test__ = False  # pytest: not a test class

    def __init__(
        self,
        network: Network,
        scheduler: Scheduler | None = None,
        on_stage: Callable[[str], None] = lambda _: None,
        overrides_admission: bool = False,
        store: str = "",
        log_format: LogFormat = LogFormat.TEXT,
    ) -> None:
        self.network = network if scheduler is None else network.with_scheduler(scheduler)
        self._options = [] if scheduler is None else ["--scheduler", scheduler]
        self._options += ["--override-admission"] if overrides_admission else []
        self._options += ["--log-format", log_format]
        self._store_at = store
        self._on_stage = on_stage
        self._stack = ExitStack()
        self._log_dir = RUN_DIR / LOG

    def __enter__(self) -> Testbed:
        try:
            self._start()
        except BaseException as error:
            self.__exit__(type(error), error, error.__traceback__)
            raise
        return self

    def __exit__(self, *error: Any) -> None:
        with uninterrupted():
            self._stack.__exit__(*error)

    def popen(self, vm: str, words: Sequence[str]) -> subprocess.Popen[str]:
        """A program in a VM, with pipes for its output."""
        return self._vms.popen(vm, words)

    def pid(self, vm: str) -> int:
        """A process in the VM's network namespace."""
        return self._vms.pid(vm)

    def command_line(self) -> None:
        """Mininet's own command line on the terminal."""
        self._vms.command_line()

    def child(self, name: str) -> Child:
        """The process of that name: `channel store`, `controller of left`, `shim of left`."""
        return next(child for child in (*self._stores, *self._controllers, *self._shims) if child.name == name)

    def pid_of(self, process: str) -> int:
        """Of a child, a daemon of the private Open vSwitch, or the `store server`, which the channel store runs.

        Raises CannotRun when it does not run.
        """
        if process in DAEMONS:
            pid = self.openvswitch.pid_of(process)
        elif process == STORE_SERVER:
            pid = _first_child(self.child("channel store").pid)
        else:
            pid = self.child(process).pid
        if pid is None:
            raise CannotRun(f"the {process} does not run just now", "try again")
        return pid

    def log_of(self, domain: str) -> str:
        """What the domain's controller has written into its log."""
        return (self._log_dir / _log_name(domain)).read_text()

    def channels(self) -> dict[str, dict[str, Any]]:
        """What each talker's controller says of its channels, by name. Raises httpx.HTTPError."""
        found = {}
        for hypervisor in self.network.hypervisors.values():
            for channel in _ask(hypervisor.controller, "channels").json():
                if self.network.vms[channel["talker"]].hypervisor == hypervisor.name:
                    found[channel["name"]] = channel
        return found

    def await_channels(self) -> None:
        """Return when every domain does all that the file asks for. Raises CannotRun with what is missing."""
        end_s = time.monotonic() + INSTALL_TIMEOUT_S
        while missing := self.missing():
            if time.monotonic() > end_s:
                raise CannotRun(f"the network does not come up: {missing[0]}", f"the logs in {self._log_dir} say more")
            time.sleep(POLL_S)

    def missing(self) -> list[str]:
        """What keeps the domains from doing all that they are asked for; empty when nothing does."""
        try:
            problems = [
                problem
                for hypervisor in self.network.hypervisors.values()
                for problem in _ask(hypervisor.controller, "health").json()["problems"]
            ]
            channels = self.channels().values()
        except httpx.HTTPError as error:
            return [str(error)]
        return problems + [
            f"channel {channel['name']} is {channel['state']}: {channel['why']}"
            for channel in channels
            if channel["state"] not in ("installed", "off")
        ]

    def _start(self) -> None:
        self._stack.enter_context(held(RUN_DIR))
        self._on_stage("Open vSwitch and the controllers")
        _sweep()
        _remove_files(None)
        self._stack.push(_remove_files)
        self._log_dir.mkdir()
        self._stores = self._children([] if self._store_at else [self._store()])
        self._controllers = self._children(map(self._controller, self.network.hypervisors))
        self._stack.callback(_sweep)
        self.openvswitch = ensure_running(RUN_DIR)
        self._stack.push(self._keep_logs)
        self._on_stage("VMs and switches")
        self._vms = Vms(self.network)
        self._stack.callback(self._vms.stop)
        self._make_links()
        _await_ready([*self._stores, *self._controllers])
        self._make_bridges()
        self._on_stage("shims")
        self._shims = self._children(map(self._shim, self._shimmed()))
        _await_ready(self._shims)

    def _keep_logs(self, error: type[BaseException] | None, *_: object) -> None:
        """Those of a private Open vSwitch, which go with it: for those who look why something could not run."""
        if self.openvswitch.private and error is not None and issubclass(error, CannotRun):
            for log in self.openvswitch.directory.glob("*.log"):
                shutil.copy(log, self._log_dir)

    def _make_links(self) -> None:
        with IPRoute() as ip:
            cables.add_plain_switches(ip, self.network)
            cables.add_cables(ip, self.network)
            self._vms.start(ip)
            cables.plug_plain_switches(ip, self.network)

    def _make_bridges(self) -> None:
        switches = [name for name, switch in self.network.switches.items() if switch.kind is SwitchKind.OVS]
        bridges = (*self.network.hypervisors, *switches)
        with connect(self.openvswitch.db_socket) as ovsdb:
            for bridge in bridges:
                apply(plan_bridge(self.network, bridge, self.openvswitch.datapath_type), ovsdb)
        self._mark_taps(bridges)
        pid = self.openvswitch.vswitchd_pid
        if self.openvswitch.private:
            warning = make_real_time(pid, VSWITCHD_PRIORITY, CPUS)
            self._supervise(bridges)
        else:
            warning = self._stack.enter_context(real_time(pid, VSWITCHD_PRIORITY, CPUS))
        if warning:
            self._on_stage(warning)

    def _supervise(self, bridges: Sequence[str]) -> None:
        """Have a private Open vSwitch back as it was when it dies."""

        def on_revival(daemon: str, pid: int) -> None:
            if daemon == VSWITCHD:
                if warning := make_real_time(pid, VSWITCHD_PRIORITY, CPUS):
                    _tell(warning)
                self._mark_taps(bridges)

        supervisor = Supervisor(self.openvswitch, _tell, on_revival)
        supervisor.start()
        self._stack.callback(supervisor.stop)

    def _mark_taps(self, bridges: Sequence[str]) -> None:
        """The TAPs of a private userspace datapath: they stay when its ovs-vswitchd is killed."""
        if self.openvswitch.private and self.openvswitch.datapath_type is DatapathType.NETDEV:
            with IPRoute() as ip:
                for tap in (*bridges, USERSPACE_TAP):
                    mark(ip, tap)

    def _children(self, children: Any) -> list[Child]:
        """Started, and to be stopped, all at once."""
        started: list[Child] = []
        self._stack.callback(stop, started)
        started.extend(children)
        return started

    def _store(self) -> Child:
        return self._child("channel store", "store.log", ["store", "--file", str(STORE_FILE)])

    def _controller(self, domain: str) -> Child:
        words = ["controller", str(self.network.file), "--domain", domain, *self._options]
        words += ["--store", self._store_at or STORE]
        return self._child(f"controller of {domain}", _log_name(domain), words)

    def _shim(self, hypervisor: str) -> Child:
        uplink = self.network.hypervisors[hypervisor].uplink
        liveness = next(port for port in ports_of(self.network, hypervisor) if port.role is PortRole.LIVENESS)
        words = ["shim", shim_interface(hypervisor), uplink.interface, "--liveness", liveness.interface]
        words += ["--rate", f"{uplink.rate_bps}bps", "--be-slack", f"{uplink.be_slack_ns}ns"]
        words += ["--socket", str(shim_socket(hypervisor))]
        words += ["--cpus", ",".join(map(str, CPUS))] if CPUS else []
        return self._child(f"shim of {hypervisor}", f"{hypervisor}.shim.log", words)

    def _child(self, name: str, log: str, words: Sequence[str]) -> Child:
        return Child(name, words, self._log_dir / log, _tell)

    def _shimmed(self) -> list[str]:
        hypervisors = self.network.hypervisors
        return [name for name, each in hypervisors.items() if each.uplink.scheduler is Scheduler.EDF]


def remove_leftovers() -> None:
    """Remove what a killed run left behind. Raises CannotRun if a run is up, or a lasting bridge is in service."""
    with held(RUN_DIR):
        _sweep()
        _remove_files(None)


def _log_name(domain: str) -> str:
    return f"{domain}.controller.log"


def _first_child(pid: int) -> int | None:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(children[0]) if children else None


def _await_ready(children: Sequence[Child]) -> None:
    for child in children:
        child.await_ready()


def _ask(controller: Endpoint, what: str) -> httpx.Response:
    return httpx.get(f"{controller.rest_url}/v1/{what}", timeout=REST_TIMEOUT_S, trust_env=False)


def _sweep() -> None:
    """Remove all bridges, rows and interfaces that bear our marks. A private Open vSwitch takes its rows with it.

    Raises CannotRun, with nothing touched, if there is a lasting bridge: the machine is in service.
    """
    if system := of_system():
        with connect(system.db_socket) as ovsdb:
            _require_none_lasting(ovsdb)
            remove_all(ovsdb)
    stop_leftover(RUN_DIR)
    with IPRoute() as ip:
        remove_links(ip)


def _require_none_lasting(ovsdb: Ovsdb) -> None:
    for bridge in lasting_bridges(ovsdb):
        raise CannotRun(
            f"the bridge {bridge} of `rtvnic bridge` is in service on this machine",
            f"have it go first: rtvnic bridge FILE --domain {bridge} --remove",
        )


def _remove_files(error: type[BaseException] | None, *_: object) -> None:
    """What the parts left in the run directory. The logs stay until the next start when something could not run."""
    for pattern in ("*.sock", "store.*", ".store.*", "*.counts.*"):
        for file in RUN_DIR.glob(pattern):
            file.unlink()
    remove_states(RUN_DIR)
    if error is None or not issubclass(error, CannotRun):
        shutil.rmtree(RUN_DIR / LOG, ignore_errors=True)


def _tell(incident: str) -> None:
    """Whoever watches over a process goes on when there is nobody to tell any more."""
    with suppress(OSError):
        print(incident, file=sys.stderr, flush=True)
