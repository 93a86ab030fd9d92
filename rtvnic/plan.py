"""`rtvnic plan`: whether the links of a topology file can keep all deadlines, and what else they could keep.

No network is needed: all follows from the file.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from controller.admission import (
    Demand,
    EdfLink,
    demands_on,
    edf_link,
    largest_rate_bps,
    payload_bps,
    refusal,
    rounded_up,
    shortage,
    smallest_deadline_ns,
    smallest_slack_ns,
)
from controller.model import Network
from controller.topology_file.load import load
from controller.units import DURATION, RATE
from rtvnic.table import aligned

Json = dict[str, Any]


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = "Exit code: 0 if all channels are admitted, 1 if not or if the file is invalid."
    parser.add_argument("file", metavar="FILE", type=Path, help="the topology file (YAML)")
    parser.add_argument("--json", action="store_true", help="print the plan as JSON; durations ns, rates bit/s")


def run(args: argparse.Namespace) -> int:
    network = load(args.file, is_admission_asked=False)
    links = [_link(edf_link(network.hypervisors[name]), demands) for name, demands in _loaded(network)]
    channels = [
        _channel(network, edf_link(network.hypervisors[name]), demands, demand)
        for name, demands in _loaded(network)
        for demand in demands
    ]
    if args.json:
        print(json.dumps({"links": links, "channels": channels}, indent=2))
    else:
        _print(links, channels)
    return 0 if all(link["is_admitted"] for link in links) else 1


def _loaded(network: Network) -> list[tuple[str, list[Demand]]]:
    """The uplinks that channels leave by, and what they ask of them."""
    demands = {name: demands_on(network, name) for name in network.hypervisors}
    return [(name, asked) for name, asked in demands.items() if asked]


def _link(link: EdfLink, demands: Sequence[Demand]) -> Json:
    found = shortage(link, demands)
    asked_bps = sum(demand.rate_bps for demand in demands)
    return {
        "link": link.name,
        "rate_bps": link.rate_bps,
        "asked_bps": asked_bps,
        "channels": len(demands),
        "be_slack_ns": link.be_slack_ns,
        "smallest_be_slack_ns": smallest_slack_ns(link, demands),
        "is_admitted": found is None,
        "why": "" if found is None else refusal(link, demands, found),
    }


def _channel(network: Network, link: EdfLink, demands: Sequence[Demand], demand: Demand) -> Json:
    largest_bps = largest_rate_bps(link, demands, demand.name)
    return {
        "channel": demand.name,
        "link": link.name,
        "deadline_ns": demand.deadline_ns,
        "smallest_deadline_ns": smallest_deadline_ns(link, demands, demand.name),
        "min_rate_bps": network.channels[demand.name].rate_bps,
        "largest_min_rate_bps": None if largest_bps is None else payload_bps(largest_bps),
        "burst_bytes": demand.burst_bytes,
    }


def _print(links: Sequence[Json], channels: Sequence[Json]) -> None:
    headers = ("link", "rate", "channels", "asked", "be_slack", "smallest", "verdict")
    print(aligned(headers, [_link_row(link) for link in links]))
    print()
    headers = ("channel", "link", "deadline", "smallest", "min_rate", "largest", "burst B")
    print(aligned(headers, [_channel_row(channel) for channel in channels]))
    for link in links:
        if link["why"]:
            print(link["why"], file=sys.stderr)


def _link_row(link: Json) -> tuple[object, ...]:
    return (
        link["link"],
        RATE.format(link["rate_bps"]),
        link["channels"],
        f"{link['asked_bps'] / link['rate_bps']:.1%}",
        DURATION.format(link["be_slack_ns"]),
        _duration(link["smallest_be_slack_ns"]),
        "admitted" if link["is_admitted"] else "refused",
    )


def _channel_row(channel: Json) -> tuple[object, ...]:
    largest_bps = channel["largest_min_rate_bps"]
    return (
        channel["channel"],
        channel["link"],
        DURATION.format(channel["deadline_ns"]),
        _duration(channel["smallest_deadline_ns"]),
        RATE.format(channel["min_rate_bps"]),
        None if largest_bps is None else RATE.format(largest_bps),
        channel["burst_bytes"],
    )


def _duration(smallest_ns: int | None) -> str | None:
    return None if smallest_ns is None else DURATION.format(rounded_up(smallest_ns))
