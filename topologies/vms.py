"""The VMs of a test bed: Mininet hosts, each in a network namespace of its own.

Only Mininet's hosts and its command line are used; bridges and controllers are ours. Not thread-safe, like Mininet.
"""

from __future__ import annotations

import shutil
import subprocess
import warnings
from collections.abc import Sequence
from typing import Any

from pyroute2 import IPRoute

from controller.errors import CannotRun
from controller.model import Host, Network, Vm
from topologies.cables import add_nic, nic_of

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # Mininet uses distutils
    from mininet.cli import CLI
    from mininet.link import Intf
    from mininet.log import setLogLevel
    from mininet.net import Mininet


class Vms:
    """The running VMs of `network`. They end with `stop`, and when this process ends. Raises CannotRun."""

    def __init__(self, network: Network) -> None:
        check_mnexec()
        setLogLevel("warning")
        Mininet.inited = True  # its `init` would raise system-wide limits that nobody sets back
        self._network = network
        self._mininet = Mininet(build=False)
        self._programs: list[subprocess.Popen[str]] = []

    def start(self, ip: IPRoute) -> None:
        """Start every VM and host with its port."""
        ends: list[Vm | Host] = [*self._network.vms.values(), *self._network.hosts.values()]
        for end in ends:
            host = self._mininet.addHost(end.name, ip=None)
            add_nic(ip, self._network, end, host.pid)
            _tell_mininet(host, end)

    def pid(self, vm: str) -> int:
        """A process in the VM's network namespace."""
        return int(self._mininet[vm].pid)

    def popen(self, vm: str, words: Sequence[str]) -> subprocess.Popen[str]:
        """A program in a VM, with pipes for its output. It ends with the VM."""
        entered = ["mnexec", "-a", str(self.pid(vm)), *words]
        program = subprocess.Popen(entered, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self._programs.append(program)
        return program

    def command_line(self) -> None:
        """Mininet's own command line on the terminal, until its user leaves it."""
        setLogLevel("info")
        CLI(self._mininet)

    def stop(self) -> None:
        """End the VMs and what `popen` started in them."""
        for program in self._programs:
            with program:  # closes its pipes, and waits
                program.kill()
        for host in self._mininet.hosts:
            host.terminate()


def check_mnexec() -> None:
    """Raises CannotRun. Mininet itself would wait for ever for a host that could not start."""
    if shutil.which("mnexec") is None:
        raise CannotRun("Mininet's mnexec is not installed", "apt-get install mininet")
    trial = subprocess.run(["mnexec", "-n", "true"], capture_output=True, text=True, check=False)
    if trial.returncode:
        reason = trial.stderr.strip() or "no message"
        raise CannotRun(f"no network namespace for a VM: mnexec says {reason!r}", "be root; a container: --privileged")


def _tell_mininet(host: Any, end: Vm | Host) -> None:
    """Let Mininet's command line know the NIC: it puts a host's first IPv4 address in the place of its name."""
    nic = Intf(nic_of(end), node=host, mac=end.mac, moveIntfFn=lambda *_: None)
    ipv4 = next((address for address in end.addresses if address.version == 4), end.addresses[0])
    nic.ip, nic.prefixLen = str(ipv4.ip), ipv4.network.prefixlen
