"""`rtvnic controller`: the controller of one domain, until a signal. `rtvnic up` starts one for each hypervisor."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from pathlib import Path

from controller.errors import CannotRun
from controller.model import Scheduler
from controller.runtime import RUN_DIR, STORE_SOCKET


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = "Prints `ready` when it listens. Exit code: 0 after SIGINT or SIGTERM, 2 when it could not run."
    parser.add_argument("file", metavar="FILE", type=Path, help="the topology file (YAML)")
    parser.add_argument("--domain", metavar="NAME", required=True, help="the hypervisor whose controller this is")
    parser.add_argument("--scheduler", type=Scheduler, choices=list(Scheduler), help="in place of each uplink's own")
    parser.add_argument("--override-admission", action="store_true", help="run also what the links cannot keep")
    parser.add_argument("--store", metavar="REMOTES", help="the channel store: unix:PATH, or ssl:HOST:PORT,... "
        "(default: one that the controllers of this machine share and keep running)")  # fmt: skip
    parser.add_argument("--tokens", type=Path, metavar="FILE", help="who may write over REST: see rtvnic token")
    parser.add_argument(
        "--tls", type=Path, metavar="DIR", help="the directory of the certificates, for REST beyond this machine"
    )
    parser.add_argument("--log-level", default="info", choices=["debug", "info", "warning"], help="default: info")
    parser.add_argument("--die-with-parent", action="store_true", help="stop when the process that started it ends")


def run(args: argparse.Namespace) -> int:
    parent_pid = os.getppid()
    from controller import launcher
    from controller.store.keeper import StoreKeeper
    from controller.store.remotes import Tls
    from controller.topology_file.load import load
    from dataplane.shim import die_with_parent
    from ovs_config.keeper import QueueKeeper

    if args.die_with_parent and not die_with_parent(parent_pid):
        return 0
    network = load(args.file, is_admission_asked=not args.override_admission)
    if args.domain not in network.hypervisors:
        allowed = ", ".join(network.hypervisors)
        raise CannotRun(f"{args.file} has no hypervisor '{args.domain}'", f"give one of: {allowed}")
    if args.scheduler is not None:
        network = network.with_scheduler(args.scheduler)
    _log_to_stderr(args.log_level)
    if args.store is None:
        StoreKeeper(RUN_DIR).start()
    launcher.run(
        network,
        args.domain,
        launcher.StoreAddress(args.store or f"unix:{STORE_SOCKET}", is_admission_asked=not args.override_admission),
        on_ready=lambda: print("ready", flush=True),
        make_queues=lambda post: QueueKeeper(network, args.domain, post),
        rest_access=launcher.RestAccess(args.tokens, Tls.of(args.tls, args.domain) if args.tls else None),
    )
    launcher.end_process()
    return 0


def _log_to_stderr(level: str) -> None:
    logging.basicConfig(
        stream=sys.stderr, level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    logging.getLogger("controller").setLevel(level.upper())
