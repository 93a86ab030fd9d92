"""`rtvnic plan`: what every channel of a topology file is assured of, hop by hop, and what else the links could keep.

No network is needed: all follows from the file.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from heapq import nlargest
from pathlib import Path
from typing import TYPE_CHECKING, Any

from controller.admission.advice import largest_rate_bps, slack_ns, smallest_deadline_ns
from controller.admission.guarantee import Guarantee, Guarantees
from controller.admission.paths import Port, Server
from controller.errors import CannotRun
from controller.model import FULL_LABELLED_FRAME_BYTES
from controller.topology_file.load import load_with_refusals
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
CHARTS_MOST = 60
"""Of one picture."""

ABREAST_MOST = 3
CHART_INCHES = (7.0, 3.2)

LINK_HEADERS = ("link", "server", "rate", "channels", "asked", "be_slack", "smallest be_slack", "verdict")
CHANNEL_HEADERS = (
    "channel",
    "hops + allowance",
    "bound",
    "deadline",
    "margin",
    "smallest deadline",
    "min_rate",
    "largest min_rate",
    "burst B",
)

EPILOG = """\
A line for each link, in each direction, that channels cross:
  server             what orders packets there: a shim (edf), class queues (queues), one queue (plain)
  asked              the channels' rates on the wire, of the link's
  be_slack           the time that all queued packets must have left before best effort goes first; of a shim
  smallest be_slack  the least with which the shim keeps all deadlines; `-`: none does
Then over time t, from the worst moment on, of what the link can send by then:
  edf                what is due by then; above 100 % a deadline is missed
  queues, plain      what may have come by then; what is above 100 % waits
A line for each channel:
  hops + allowance   the longest that a packet takes at each link, and what the talker's hypervisor may take
  bound              all of these together; `?` and `-`: nothing limits it, or the link is refused
  margin             what of the deadline is left then
  smallest deadline  the shortest that would be accepted, with all else as it is; `-`: none
  largest min_rate   the highest rate that would be accepted, with all else as it is; `-`: none
  burst B            what may be sent at once, in bytes
What is smallest and largest of channels is not looked for in files with more than 50 of them.

Exit code: 0 if all channels are admitted, 1 if not or if the file is invalid.
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = EPILOG
    parser.add_argument("file", metavar="FILE", type=Path, help="the topology file (YAML)")
    parser.add_argument("--json", action="store_true", help="print the plan as JSON; durations ns, rates bit/s")
    parser.add_argument("--plot", metavar="OUT.png", type=Path, help="draw what each link is asked for over time")


def run(args: argparse.Namespace) -> int:
    network, refusals = load_with_refusals(args.file)
    guarantees = Guarantees(network)
    links = [_link(guarantees, port) for port in guarantees.ports]
    channels = _channels(guarantees)
    texts = [refusal.text(str(args.file)) for refusal in refusals]
    if args.json:
        print(json.dumps({"links": links, "channels": channels, "refusals": texts}, indent=2))
    else:
        _print(links, channels)
        for text in texts:
            print(text, file=sys.stderr)
    if args.plot:
        _plot(args.plot, links)
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
        "utilisation": _utilisation(guarantees, port),
    }


def _utilisation(guarantees: Guarantees, port: Port) -> list[Json]:
    """What may have to be sent within t of the worst moment, beside what can be.

    At a shim up to twice the longest deadline; elsewhere up to twice the time after which all that waits has gone.
    """
    told_ns = _due_ns(guarantees, port) if guarantees.paths.server(port) is Server.EDF else {_busy_ns(guarantees, port)}
    last_ns = 2 * max(told_ns, default=0)
    asked_bits, rate_bps = guarantees.asked_bits(port), guarantees.paths.rate_bps(port)
    return [
        {"t_ns": t_ns, "asked_bits": asked_bits(t_ns), "sent_bits": sent_bits}
        for t_ns in sorted(told_ns | {last_ns * number // POINTS for number in range(1, POINTS + 1)})
        if (sent_bits := rate_bps * t_ns // NS_PER_S)
    ]


def _due_ns(guarantees: Guarantees, port: Port) -> set[int]:
    """When packets at a shim are due; once best effort has taken its slack, if they have more time than that."""
    slack_ns = guarantees.paths.edf_link(port).be_slack_ns
    return {min(demand.deadline_ns, slack_ns) for demand in guarantees.demands(port)}


def _busy_ns(guarantees: Guarantees, port: Port) -> int:
    """How long a port without a shim may be busy at a stretch; the longest deadline there, if for ever."""
    asked = guarantees.traffic.asked(port).values()
    left_bps = guarantees.paths.rate_bps(port) - sum(each.rate_bps for each in asked)
    if left_bps <= 0:
        return max(channel.deadline_ns for channel in guarantees.ports[port])
    size_bytes = FULL_LABELLED_FRAME_BYTES + sum(each.arriving_bytes for each in asked)
    return 8 * size_bytes * NS_PER_S // left_bps


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
    print(aligned(LINK_HEADERS, [_link_row(link) for link in links]))
    for link in links:
        if link["utilisation"]:
            print(f"\n{link['link']}: {_what(link)} within t, of what can be sent\n{_bars(link)}")
    print()
    print(aligned(CHANNEL_HEADERS, [_channel_row(channel) for channel in channels]))


def _what(link: Json) -> str:
    """That is asked of it over time."""
    return "what has to be sent" if link["server"] == Server.EDF else "what may come"


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


def _bars(link: Json) -> str:
    """A line for each t; the bar is full where the link has not a bit to spare. What is more waits, or is missed."""
    parts = {point["t_ns"]: point["asked_bits"] / point["sent_bits"] for point in link["utilisation"]}
    more = "!" if link["server"] == Server.EDF else "+"
    rows = [
        (DURATION.format(t_ns), f"{part:.1%}", "#" * min(BAR, round(part * BAR)) + more * (part > 1))
        for t_ns, part in parts.items()
    ]
    return aligned(("t", "asked", ""), rows)


def _channel_row(channel: Json) -> tuple[object, ...]:
    largest_bps = channel["largest_min_rate_bps"]
    taken_ns = [*(hop["bound_ns"] for hop in channel["hops"]), channel["allowance_ns"]]
    return (
        channel["channel"],
        " + ".join(_duration(each_ns) or "?" for each_ns in taken_ns),
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


def _plot(file: Path, links: Sequence[Json]) -> None:
    """A chart for each link, of many for those that are asked for most. Raises CannotRun, also if there is none."""
    shown = [link for link in links if link["utilisation"]]
    if not shown:
        raise CannotRun("there is nothing to draw: no link has a channel with time left there", "leave --plot away")
    if len(shown) > CHARTS_MOST:
        print(f"{file} shows the {CHARTS_MOST} of {len(shown)} links that are asked for most", file=sys.stderr)
        shown = nlargest(CHARTS_MOST, shown, key=lambda link: link["asked_bps"] / link["rate_bps"])
    columns = min(ABREAST_MOST, len(shown))
    rows = -(-len(shown) // columns)
    width, height = CHART_INCHES
    save_plot(file, lambda figure: draw(figure, shown, rows, columns), (width * columns, height * rows))


def draw(figure: Figure, links: Sequence[Json], rows: int, columns: int) -> None:
    for number, link in enumerate(links, start=1):
        axes = figure.add_subplot(rows, columns, number)
        times = [point["t_ns"] / NS_PER_MS for point in link["utilisation"]]
        for what, style, label in (("sent_bits", "k--", "what can be sent"), ("asked_bits", "C0o-", _what(link))):
            axes.plot(times, [point[what] / 1000 for point in link["utilisation"]], style, label=label)
        axes.set_title(f"{link['link']} ({link['server']})")
        axes.set_xlabel("t after the worst moment (ms)")
        axes.set_ylabel("kbit")
        axes.set(xlim=(0, None), ylim=(0, None))
        axes.legend()
