"""`rtvnic bridge`: the bridge of one hypervisor in the Open vSwitch of this machine. `rtvnic up` makes its own."""

from __future__ import annotations

import argparse
from pathlib import Path

from controller.errors import CannotRun


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "Makes the bridge, its ports and queues and the shim's interfaces, or corrects what differs, and prints each "
        "change; what the machine has already, its uplink and the VMs' interfaces, must be there, and with `tls` its "
        "certificate, switch-NAME. While there is such a bridge, `rtvnic up` and `rtvnic down` refuse. Exit code: 0 if "
        "all is as the file says, 1 if the file is invalid, 2 if it could not be done."
    )
    parser.add_argument("file", metavar="FILE", type=Path, help="the topology file (YAML)")
    parser.add_argument("--domain", metavar="NAME", required=True, help="the hypervisor that this machine is")
    parser.add_argument("--remove", action="store_true", help="take all of it away again")


def run(args: argparse.Namespace) -> int:
    from controller.run_lock import held
    from controller.runtime import RUN_DIR
    from controller.store.remotes import require
    from controller.topology_file.load import load_for
    from ovs_config.apply import apply, remove
    from ovs_config.openvswitch import of_system
    from ovs_config.ovsdb import connect
    from ovs_config.plan import plan_bridge

    network = load_for(args.domain, args.file, is_admission_asked=not args.remove)
    with held(RUN_DIR):
        system = of_system()
        if system is None:
            raise CannotRun("Open vSwitch does not run", "systemctl start openvswitch-switch")
        plan = plan_bridge(network, args.domain, system.datapath_type, is_lasting=True)
        if plan.tls and not args.remove:
            require(plan.tls)
        with connect(system.db_socket) as ovsdb:
            changes = remove(plan, ovsdb) if args.remove else apply(plan, ovsdb)
    for change in changes:
        print(change)
    return 0
