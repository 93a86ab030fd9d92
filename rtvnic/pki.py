"""`rtvnic pki`: all certificates that a topology file needs, in one go. For test beds, and to begin with."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from controller.errors import CannotRun
from rtvnic.arguments import integer
from rtvnic.table import aligned

if TYPE_CHECKING:
    from controller.model import Network
    from rtvnic.authority import Holder

DAYS = 365


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "Makes an authority, and certificates signed by it: controller-NAME for each controller; switch-NAME for each "
        "bridge, which lets it be that datapath id and no other, as `rtvnic bridge` sets it; openvswitch for one Open "
        "vSwitch with all bridges, as `rtvnic up` has; store for a channel store. What is there and still fits is "
        "kept. On each machine put ca-cert.pem and its own files; ca-key.pem signs, and belongs on none of them. "
        "Exit code: 0 if all are there, 1 if FILE is invalid or one does not fit any more, 2 if they cannot be made."
    )
    parser.add_argument("file", metavar="FILE", type=Path, help="the topology file (YAML)")
    parser.add_argument("--into", metavar="DIR", type=Path, help="default: the directory that the file names as `tls`")
    parser.add_argument("--days", type=integer(range(1, 3651)), default=DAYS, help=f"how long (default: {DAYS})")
    parser.add_argument("--renew", action="store_true", help="write over all certificates but the authority's")


def run(args: argparse.Namespace) -> int:
    from controller.topology_file.load import load
    from rtvnic.authority import Authority

    network = load(args.file, is_admission_asked=False)
    directory = args.into or network.tls_directory
    if directory is None:
        raise CannotRun(f"{args.file} names no directory for certificates", "add 'tls: pki' to it, or give --into DIR")
    authority = Authority(directory)
    rows = [("ca", "made" if authority.is_new else "kept")]
    for holder in holders(network):
        is_made = authority.issue(holder, args.days, args.renew)
        rows.append((holder.name, "made" if is_made else "kept"))
    print(aligned((str(directory), ""), rows))
    return 0


def holders(network: Network) -> list[Holder]:
    """Everybody who takes part in `network`."""
    from controller.model import OPENVSWITCH, SwitchKind
    from controller.tls import datapath_name
    from rtvnic.authority import Holder, Use

    switches = [name for name, switch in network.switches.items() if switch.kind is SwitchKind.OVS]
    names = {bridge: datapath_name(network.datapath_id(bridge)) for bridge in (*network.hypervisors, *switches)}
    return [
        *(
            Holder(f"controller-{domain}", Use.BOTH, addresses=(hypervisor.controller.address,))
            for domain, hypervisor in network.hypervisors.items()
        ),
        *(Holder(f"switch-{bridge}", Use.CLIENT, (name,)) for bridge, name in names.items()),
        Holder(OPENVSWITCH, Use.CLIENT, tuple(names.values())),
        Holder("store", Use.BOTH, addresses=("127.0.0.1",)),
    ]
