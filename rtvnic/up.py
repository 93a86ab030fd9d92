"""`rtvnic up`: a topology file as a running network in Mininet, until Ctrl-C."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING

from controller.model import Network, Scheduler
from rtvnic.progress import Progress
from rtvnic.table import aligned

if TYPE_CHECKING:
    from topologies.testbed import Testbed

STAGES = 4
NAP_S = 0.5
"""Not for ever: a signal that comes just before the program sleeps is only seen when it wakes."""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "Exit code: 0 when it was ended and all is removed, 1 if the file is invalid, 2 if it could not run; so it is "
        "where a bridge of `rtvnic bridge` is in service, of which nothing is touched."
    )
    parser.add_argument("file", metavar="FILE", type=Path, help="the topology file (YAML)")
    parser.add_argument("--cli", action="store_true", help="open Mininet's command line; its end ends the network")
    parser.add_argument("--store", metavar="REMOTES", default="",
        help="the channel store: unix:PATH, or ssl:IP:PORT,... (default: one that ends with it)")  # fmt: skip
    parser.add_argument("--scheduler", type=Scheduler, choices=list(Scheduler), help="in place of each uplink's own")


def run(args: argparse.Namespace) -> int:
    from controller.topology_file.load import load
    from topologies.interruption import interruptible
    from topologies.testbed import Testbed

    network = load(args.file)
    progress = Progress(STAGES)
    try:
        with interruptible(), Testbed(network, args.scheduler, progress.step, store=args.store) as testbed:
            progress.step("channels")
            testbed.await_channels()
            progress.end()
            print(_welcome(testbed.network, args.cli), flush=True)
            _wait(testbed, args.cli)
    except (KeyboardInterrupt, SystemExit):
        pass  # asked to end, and ended
    return 0


def _welcome(network: Network, has_cli: bool) -> str:
    rows = [
        (name, hypervisor.controller.rest_url, " ".join(vm.name for vm in network.vms_of(name)))
        for name, hypervisor in network.hypervisors.items()
    ]
    first = rows[0][1]
    way_out = "`exit` ends the network" if has_cli else "Ctrl-C ends the network"
    hints = [f"Try: curl -s {first}/v1/channels", f"Or look at {first}/docs, or: rtvnic show channels", way_out]
    return "\n".join([aligned(("domain", "REST", "VMs"), rows), "", *hints])


def _wait(testbed: Testbed, has_cli: bool) -> None:
    from topologies.interruption import ctrl_c_for_commands

    if has_cli:
        with ctrl_c_for_commands():
            testbed.command_line()
        return
    while True:
        time.sleep(NAP_S)
