"""`rtvnic controller`: the controller of one domain, until a signal. `rtvnic up` starts one for each hypervisor.

With `--check` it starts nothing, and says what a start would lack.
"""

from __future__ import annotations

import argparse
import gc
from pathlib import Path

from controller.listeners import Listeners
from controller.logs import LogFormat, start_log
from controller.model import Network, Scheduler


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "Prints `ready` when it listens; SIGHUP applies the channels of FILE anew. Exit code: 0 after SIGINT or "
        "SIGTERM, 2 when it could not run; with --check 0 if nothing is lacking, 1 if something is."
    )
    parser.add_argument("file", metavar="FILE", type=Path, help="the topology file (YAML)")
    parser.add_argument("--domain", metavar="NAME", required=True, help="the hypervisor whose controller this is")
    parser.add_argument("--scheduler", type=Scheduler, choices=list(Scheduler), help="in place of each uplink's own")
    parser.add_argument("--override-admission", action="store_true", help="run also what the links cannot keep")
    parser.add_argument("--store", metavar="REMOTES", default="",
        help="the channel store: unix:PATH, or ssl:IP:PORT,... (default: one that the controllers of this machine "
        "share and keep running)")  # fmt: skip
    parser.add_argument("--tokens", type=Path, metavar="FILE", help="who may write over REST: see rtvnic token")
    parser.add_argument("--log-level", default="info", choices=["debug", "info", "warning"], help="default: info")
    parser.add_argument("--log-format", type=LogFormat, choices=list(LogFormat), default=LogFormat.TEXT,
        help="lines for people, or a JSON object a line (default: text)")  # fmt: skip
    parser.add_argument("--check", action="store_true", help="start nothing; say what it would lack, and the cure")
    parser.add_argument("--json", action="store_true", help="with --check: print the checklist as JSON")
    parser.add_argument("--die-with-parent", type=int, metavar="PID", help="stop when this process, its parent, ends")


def run(args: argparse.Namespace) -> int:
    gc.disable()  # what imports make is no garbage, and to look for some takes a tenth of a start
    from dataplane.shim import die_with_parent

    if args.die_with_parent and not die_with_parent(args.die_with_parent):
        return 0
    if args.check:
        from rtvnic.checklist import show
        from rtvnic.preflight import preflight

        return show(preflight(lambda: _network(args), args.file, args.domain, args.store), args.json)
    network = _network(args)
    start_log(args.log_level, args.log_format, args.domain)
    listeners = Listeners.of(network, args.domain)  # before the rest, of which it takes long to import

    from controller import launcher
    from ovs_config.keeper import QueueKeeper

    gc.freeze()
    gc.enable()
    launcher.run(
        network,
        args.domain,
        listeners,
        launcher.StoreAddress(args.store, is_admission_asked=not args.override_admission),
        on_ready=lambda: print("ready", flush=True),
        make_queues=lambda post: QueueKeeper(network, args.domain, post),
        reload=lambda: _network(args),
        tokens=args.tokens,
    )
    launcher.end_process()
    return 0


def _network(args: argparse.Namespace) -> Network:
    """What the file says now. Raises InvalidFile, CannotRun."""
    from controller.topology_file.load import load_for

    network = load_for(args.domain, args.file, is_admission_asked=not args.override_admission)
    return network if args.scheduler is None else network.with_scheduler(args.scheduler)
