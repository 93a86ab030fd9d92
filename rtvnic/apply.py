"""`rtvnic apply`: makes the channels that a running network has of a topology file those of the file now, all or none.

Channels that were asked for over REST or by guests stay.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from controller.runtime import STORE_SOCKET
from controller.units import DURATION, RATE, SIZE
from rtvnic.connection import CERTIFICATE
from rtvnic.table import aligned

if TYPE_CHECKING:
    from controller.model import Channel, Network, TlsFiles
    from controller.store.decisions import Differences

UNITS: Mapping[str, Callable[[int], str]] = {
    "deadline_ns": DURATION.format,
    "rate_bps": RATE.format,
    "burst_bytes": SIZE.format,
    "packet_bytes": SIZE.format,
}
NAMES = {"deadline_ns": "deadline", "rate_bps": "min_rate", "burst_bytes": "burst", "packet_bytes": "packet",
         "talker": "from", "listener": "to"}  # fmt: skip
"""What the file calls the fields of a channel, where that differs."""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "Channels of REST and of guests stay; one of the file that REST has made already, and just so, stays REST's. "
        "Exit code: 0 if the file's channels are those of the file now, 1 if they are refused, 2 without a store."
    )
    parser.add_argument("file", metavar="FILE", type=Path, help="the topology file (YAML)")
    parser.add_argument(
        "--dry-run", action="store_true", help="only say what would change, and whether it would be accepted"
    )
    parser.add_argument("--new-topology", action="store_true",
        help="also if hypervisors, switches, VMs or classes differ; then restart the controllers with it")  # fmt: skip
    store_arguments(parser)
    parser.add_argument("--json", action="store_true", help="print the differences as JSON")


def store_arguments(parser: argparse.ArgumentParser) -> None:
    """How a verb finds the channel store."""
    parser.add_argument("--store", metavar="REMOTES", default=f"unix:{STORE_SOCKET}",
        help="unix:PATH, or ssl:IP:PORT,... with FILE's certificates (default: %(default)s)")  # fmt: skip


def store_tls(network: Network, remotes: str) -> TlsFiles | None:
    """What a verb shows to the store at `remotes`: nothing where it is reached without TLS. Raises CannotRun."""
    from controller.store.remotes import tls_files

    if network.tls_directory is None or "ssl:" not in remotes:
        return None
    return tls_files(network.tls_directory, CERTIFICATE)


def run(args: argparse.Namespace) -> int:
    from controller.store.client import Store
    from controller.store.decisions import Clerk, differences
    from controller.topology_file.load import load

    network = load(args.file)
    decision = Clerk(network).apply(network.channels, args.new_topology)
    with Store(args.store, network.classes, store_tls(network, args.store)) as store:
        before = store.read()
        if args.dry_run:
            decision(before)  # raises what it would be refused for
        else:
            store.change(decision)
    found = differences(before, network.channels)
    print(json.dumps(_as_json(found), indent=2) if args.json else _text(found, network.channels, args.dry_run))
    return 0


def _as_json(found: Differences) -> dict[str, object]:
    changed = {
        name: {field: {"before": str(before), "after": str(after)} for field, before, after in fields}
        for name, fields in found.changed.items()
    }
    return {"added": found.added, "changed": changed, "removed": found.removed}


def _text(found: Differences, channels: Mapping[str, Channel], is_dry_run: bool) -> str:
    if found.is_empty:
        return "nothing to change"
    rows = [("added", name, _contract(channels[name])) for name in found.added]
    rows += [("changed", name, "; ".join(_change(*each) for each in fields)) for name, fields in found.changed.items()]
    rows += [("removed", name, "") for name in found.removed]
    ending = "\n\nnothing was changed: --dry-run" if is_dry_run else ""
    return aligned(("what", "channel", "how"), rows) + ending


def _contract(channel: Channel) -> str:
    deadline, rate = DURATION.format(channel.deadline_ns), RATE.format(channel.rate_bps)
    return f"from {channel.talker} to {channel.listener}, deadline {deadline}, min_rate {rate}"


def _change(field: str, before: object, after: object) -> str:
    return f"{NAMES.get(field, field)} {_shown(field, before)} -> {_shown(field, after)}"


def _shown(field: str, value: object) -> str:
    if field in UNITS and isinstance(value, int):
        return UNITS[field](value)
    return " ".join(map(str, value)) if isinstance(value, tuple) else "any" if value is None else str(value)
