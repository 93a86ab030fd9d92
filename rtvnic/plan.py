"""`rtvnic plan`: what every channel of a topology file is assured of, hop by hop, and what else the links could keep.

No network is needed: all follows from the file.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from controller.admission.advice import largest_rate_bps, refusal_texts, slack_ns, smallest_deadline_ns
from controller.admission.condition import asked_bits
from controller.admission.guarantee import Guarantee, Guarantees
from controller.admission.paths import Port, Server
from controller.topology_file.load import load
from controller.units import DURATION, NS_PER_MS, NS_PER_S, RATE
from rtvnic.drawing import save_plot
from rtvnic.progress import Progress
from rtvnic.table import aligned

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Json = dict[str, Any]

ADVISED_MOST = 50
"""Each figure of what else would be accepted takes some hundred admissions of the whole network."""

POINTS = 10
BAR = 40


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = "Exit code: 0 if all channels are admitted, 1 if not or if the file is invalid."
    parser.add_argument("file", metavar="FILE", type=Path, help="the topology file (YAML)")
    parser.add_argument("--json", action="store_true", help="print the plan as JSON; durations ns, rates bit/s")
    parser.add_argument("--plot", metavar="OUT.png", type=Path, help="draw what each link is asked for over time")


def run(args: argparse.Namespace) -> int:
    network = load(args.file, is_admission_asked=False)
    guarantees = Guarantees(network)
    links = [_link(guarantees, port) for port in guarantees.ports]
    channels = _channels(guarantees)
    refusals = refusal_texts(guarantees)
    if args.json:
        print(json.dumps({"links": links, "channels": channels, "refusals": refusals}, indent=2))
    else:
        _print(links, channels)
        for text in refusals:
            print(text, file=sys.stderr)
    if args.plot:
        save_plot(args.plot, lambda figure: _draw(figure, links))
    return 1 if refusals else 0


def _link(guarantees: Guarantees, port: Port) -> Json:
    channels, paths = guarantees.ports[port], guarantees.paths
    rate_bps, server = paths.rate_bps(port), paths.server(port)
    is_edf = server is Server.EDF
    return {
        "link": str(port),
        "server": server,
        "rate_bps": rate_bps,
        "asked_bps": sum(channel.wire_rate_bps for channel in channels),
        "channels": len(channels),
        "be_slack_ns": paths.edf_link(port).be_slack_ns if is_edf else None,
        "smallest_be_slack_ns": slack_ns(guarantees, port) if is_edf else None,
        "is_admitted": all(refusal.at != port for refusal in guarantees.refusals),
        "utilisation": _utilisation(guarantees, port) if is_edf else [],
    }


def _utilisation(guarantees: Guarantees, port: Port) -> list[Json]:
    """What may have to be sent within t of the worst moment, beside what can be; up to twice the longest deadline."""
    link, demands = guarantees.paths.edf_link(port), guarantees.demands(port)
    due = sorted({min(demand.deadline_ns, link.be_slack_ns) for demand in demands})
    last_ns = 2 * max(due, default=0)
    times = sorted({*due, *(last_ns * number // POINTS for number in range(1, POINTS + 1))})
    return [
        {"t_ns": t_ns, "asked_bits": asked_bits(link, demands, t_ns), "sent_bits": sent_bits}
        for t_ns in times
        if (sent_bits := link.rate_bps * t_ns // NS_PER_S)
    ]


def _channels(guarantees: Guarantees) -> list[Json]:
    found = list(guarantees.by_channel.values())
    is_advised = len(found) <= ADVISED_MOST
    progress = Progress(len(found))
    channels = []
    for guarantee in found:
        if is_advised:
            progress.step(guarantee.channel.name)
        channels.append(_channel(guarantees, guarantee, is_advised))
    progress.end()
    return channels


def _channel(guarantees: Guarantees, guarantee: Guarantee, is_advised: bool) -> Json:
    channel = guarantee.channel
    return {
        "channel": channel.name,
        "deadline_ns": channel.deadline_ns,
        "allowance_ns": guarantee.allowance_ns,
        "hops": [{"at": str(hop.port), "server": hop.server, "bound_ns": hop.bound_ns} for hop in guarantee.hops],
        "bound_ns": guarantee.bound_ns,
        "margin_ns": guarantee.margin_ns,
        "smallest_deadline_ns": smallest_deadline_ns(guarantees, channel.name) if is_advised else None,
        "min_rate_bps": channel.rate_bps,
        "largest_min_rate_bps": largest_rate_bps(guarantees, channel.name) if is_advised else None,
        "burst_bytes": channel.burst_bytes,
    }


def _print(links: Sequence[Json], channels: Sequence[Json]) -> None:
    headers = ("link", "server", "rate", "channels", "asked", "be_slack", "smallest", "verdict")
    print(aligned(headers, [_link_row(link) for link in links]))
    for link in links:
        if link["utilisation"]:
            print(f"\n{link['link']}: what may have to be sent within t, of what can be\n{_bars(link['utilisation'])}")
    channel_headers = ("channel", "hops", "bound", "deadline", "margin", "smallest", "min_rate", "largest", "burst B")
    print()
    print(aligned(channel_headers, [_channel_row(channel) for channel in channels]))


def _link_row(link: Json) -> tuple[object, ...]:
    return (
        link["link"],
        link["server"],
        RATE.format(link["rate_bps"]),
        link["channels"],
        f"{link['asked_bps'] / link['rate_bps']:.1%}",
        _duration(link["be_slack_ns"]),
        _duration(link["smallest_be_slack_ns"]),
        "admitted" if link["is_admitted"] else "refused",
    )


def _bars(utilisation: Sequence[Json]) -> str:
    """A line for each t; the bar is full where the link has not a bit to spare."""
    rows = []
    for point in utilisation:
        part = point["asked_bits"] / point["sent_bits"]
        rows.append(
            (DURATION.format(point["t_ns"]), f"{part:.1%}", "#" * min(BAR, round(part * BAR)) + "!" * (part > 1))
        )
    return aligned(("t", "asked", ""), rows)


def _channel_row(channel: Json) -> tuple[object, ...]:
    largest_bps = channel["largest_min_rate_bps"]
    return (
        channel["channel"],
        " + ".join(_duration(hop["bound_ns"]) or "?" for hop in channel["hops"]),
        _duration(channel["bound_ns"]),
        DURATION.format(channel["deadline_ns"]),
        _duration(channel["margin_ns"]),
        _duration(channel["smallest_deadline_ns"]),
        RATE.format(channel["min_rate_bps"]),
        None if largest_bps is None else RATE.format(largest_bps),
        channel["burst_bytes"],
    )


def _duration(value_ns: int | None) -> str | None:
    return None if value_ns is None else DURATION.format(value_ns)


def _draw(figure: Figure, links: Sequence[Json]) -> None:
    shown = [link for link in links if link["utilisation"]]
    for number, link in enumerate(shown, start=1):
        axes = figure.add_subplot(len(shown), 1, number)
        times = [point["t_ns"] / NS_PER_MS for point in link["utilisation"]]
        for what, style in (("sent_bits", "k--"), ("asked_bits", "C0o-")):
            label = {"sent_bits": "what the link sends", "asked_bits": "what may have to be sent"}[what]
            axes.plot(times, [point[what] / 1000 for point in link["utilisation"]], style, label=label)
        axes.set_title(link["link"])
        axes.set_xlabel("t after the worst moment (ms)")
        axes.set_ylabel("kbit")
        axes.legend()
