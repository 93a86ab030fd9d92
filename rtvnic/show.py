"""`rtvnic show`: what running controllers know, as aligned tables or JSON.

One controller is asked for the topology, and for its own part; then each other that the topology names for its part.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import compress
from typing import Any

from controller.errors import AnswerIsNo, CannotRun
from controller.units import DURATION, NS_PER_S, RATE, SIZE, ms
from rtvnic.connection import Found, Json, ask, connection_arguments, reach, said
from rtvnic.table import aligned

FIRST_CONTROLLER = "http://127.0.0.1:8181"
TIMEOUT_S = 5.0


@dataclass(frozen=True)
class Domain:
    """Where its controller is asked, and its VMs."""

    at: str
    vms: frozenset[str]


@dataclass(frozen=True)
class Table:
    """How one resource of the REST API becomes a table. `key` names what is the same whichever controller tells it.

    Columns with the headers `wide` are shown when they are asked for: who wants to know whether all is well can do
    without.
    """

    headers: tuple[str, ...]
    row: Callable[[Json], tuple[object, ...]]
    key: Callable[[Json], object]
    wide: frozenset[str] = frozenset()

    def text(self, entries: Sequence[Json], is_wide: bool) -> str:
        shown = [is_wide or header not in self.wide for header in self.headers]
        rows = [list(compress(self.row(entry), shown)) for entry in entries]
        return aligned(list(compress(self.headers, shown)), rows)


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "Exit code: 0, 2 if a controller of the network does not say what it knows; what the others say is printed."
    )
    parser.add_argument("what", choices=TABLES, help="what to print")
    parser.add_argument("--at", metavar="URL|unix:PATH", default=FIRST_CONTROLLER,
        help=f"any controller of the network (default: {FIRST_CONTROLLER})")  # fmt: skip
    connection_arguments(parser)
    parser.add_argument("--json", action="store_true", help="print what the REST API says")
    parser.add_argument("--wide", action="store_true", help="of channels and classes: print all columns")
    parser.add_argument("--follow", action="store_true",
        help="of misses: print them as they happen, with --json an object a line, until interrupted")  # fmt: skip


def run(args: argparse.Namespace) -> int:
    if args.follow:
        return _follow(args)
    entries, troubles = _collect(args)
    if args.json:
        print(json.dumps(entries, indent=2))
    elif entries:
        print(TABLES[args.what].text(entries, args.wide))
    elif not troubles:
        print(f"no {args.what}")
    for trouble in troubles:
        print(trouble.what, file=sys.stderr)
    return CannotRun.exit_code if troubles else 0


def _follow(args: argparse.Namespace) -> int:
    """Print misses, those of a channel summed up over 100 ms, until interrupted."""
    from rtvnic.follow import TIMEOUT, follow

    if args.what != "misses":
        raise CannotRun(f"{args.what} cannot be followed", "rtvnic show misses --follow")
    clients = [reach(args, each.at, TIMEOUT) for each in _domains(args)]
    try:
        for event in follow(clients, frozenset({"misses"})):
            print(json.dumps(event) if args.json else _sum_of_misses(event), flush=True)
    except KeyboardInterrupt:
        return 0
    raise AssertionError("it follows without end")


def _sum_of_misses(event: Json) -> str:
    count, worst = event["count"], ms(event["worst_lateness_ns"])
    return f"{_instant(event['at_ns'])}  {event['channel']}  {count} missed  {worst} ms late at most"


def _collect(args: argparse.Namespace) -> tuple[list[Json], list[CannotRun]]:
    """What all controllers say, each thing once, and why some say nothing.

    Of a channel that two tell of, its talker's controller is believed: no other knows how it adapts.
    """
    key = TABLES[args.what].key
    found: dict[object, Json] = {}
    troubles = []
    for domain in _domains(args):
        try:
            entries = _ask(args, domain.at, args.what, lambda entries: [(key(entry), entry) for entry in entries])
        except CannotRun as trouble:
            troubles.append(trouble)
            continue
        for entry_key, entry in entries:
            if entry_key not in found or entry.get("talker") in domain.vms:
                found[entry_key] = entry
    return list(found.values()), troubles


def _domains(args: argparse.Namespace) -> list[Domain]:
    """All domains of the network, as the controller that `args` name says: itself asked as it was, the others at their
    REST addresses. Raises CannotRun."""
    at = args.at.rstrip("/")

    def found(topology: Json) -> list[Domain]:
        urls = {each["name"]: each["rest_url"] for each in topology["hypervisors"]} | {topology["domain"]: at}
        return [Domain(urls[each["name"]], frozenset(each["vms"])) for each in topology["hypervisors"]]

    return _ask(args, at, "topology", found)


def _ask(args: argparse.Namespace, at: str, what: str, find: Callable[[Any], Found]) -> Found:
    """What `find` finds in what the controller at `at`, a URL or unix:PATH, says of `what`. Raises CannotRun."""
    with reach(args, at, TIMEOUT_S) as client:
        try:
            return said(ask(client, at, "GET", f"/v1/{what}"), at, find)
        except AnswerIsNo as refusal:
            raise CannotRun(
                f"the controller at {at} refuses: {refusal}", "give --token-file FILE, or --at unix:PATH"
            ) from None


def _channel(channel: Json) -> tuple[object, ...]:
    return (
        channel["name"],
        channel["owner"] or None,
        channel["state"],
        *(_duration(channel[name]) for name in ("deadline_ns", "bound_ns", "longest_ns")),
        _duration((channel["adaptation"] or {}).get("adapted_ns")),
        channel["deadline_class"],
        *(channel[count] for count in ("sent", "received", "lost", "missed")),
        _in_doubt(channel),
        channel["bypassed"],
        _excess(channel),
        *_quantiles(channel["queueing_delay"]),
        *_quantiles(channel["lateness"]),
        channel["why"],
    )


def _class(deadline_class: Json) -> tuple[object, ...]:
    return (
        deadline_class["domain"],
        deadline_class["name"],
        deadline_class["queue_id"],
        deadline_class["proof"],
        deadline_class["dscp"],
        DURATION.format(deadline_class["up_to_ns"]),
        *(deadline_class[count] for count in ("sent", "received", "missed")),
        _in_doubt(deadline_class),
        deadline_class["bypassed"],
        _excess(deadline_class),
        *_quantiles(deadline_class["queueing_delay"]),
        *_quantiles(deadline_class["lateness"]),
        " ".join(deadline_class["channels"]),
    )


def _queue(queue: Json) -> tuple[object, ...]:
    counts = ("packets", "bytes", "errors", "shim_packets")
    return tuple(queue[column] for column in ("switch", "interface", "queue_id", "deadline_class", *counts, "proof"))


def _switch(switch: Json) -> tuple[object, ...]:
    dropped = ", ".join(f"{cause} {count}" for cause, count in switch["dropped"].items() if count)
    return (switch["name"], switch["datapath_id"], switch["state"], switch["flows"], dropped or None, switch["why"])


def _peer(peer: Json) -> tuple[object, ...]:
    state = "reachable" if peer["is_reachable"] else peer["why"]
    apart = _duration(peer["clock_difference_ns"]) or "unknown"
    counts = (peer[name] for name in ("dropped", "refused", "reconnects"))
    return (peer["peer_of"], peer["domain"], peer["address"], state, apart, *counts, " ".join(peer["channels"]))


def _handler(handler: Json) -> tuple[object, ...]:
    counts = ("started", "failed", "timed_out", "retried", "summed", "dropped", "waiting")
    return (*(handler[name] for name in ("domain", "name", "kind", *counts)), handler["why"] or None)


def _miss(miss: Json) -> tuple[object, ...]:
    return (_instant(miss["at_ns"]), miss["channel"], ms(miss["lateness_ns"]))


def _guest(guest: Json) -> tuple[object, ...]:
    outcomes = ("refused", "busy", "metered", "crowded_out", "malformed", "call_ups_dropped")
    return (
        guest["vm"],
        guest["domain"],
        f"{guest['channels']} of {guest['channels_max']}",
        f"{RATE.format(guest['rate_bps'])} of {RATE.format(guest['rate_max_bps'])}",
        f"{SIZE.format(guest['burst_bytes'])} of {SIZE.format(guest['burst_max_bytes'])}",
        guest["subscriptions"],
        guest["requests"],
        _counted(guest, outcomes),
        guest["call_ups"],
    )


def _instant(at_ns: int) -> str:
    return datetime.fromtimestamp(at_ns / NS_PER_S, UTC).isoformat(sep=" ", timespec="microseconds")


def _excess(counted: Json) -> str | None:
    """What became of packets beyond contract or deadline, by cause."""
    return _counted(counted, ("postponed", "excess_dropped", "demoted", "late_dropped", "queue_full"))


def _counted(counted: Json, names: Sequence[str]) -> str | None:
    """What of `names` is not zero, in words."""
    return ", ".join(f"{name.replace('_', ' ')} {counted[name]}" for name in names if counted[name]) or None


def _in_doubt(counted: Json) -> str | None:
    """Packets of which nobody can say whether they were late, by cause."""
    return _counted(counted, ("within_clock_error", "unjudged"))


def _duration(value_ns: int | None) -> str | None:
    return None if value_ns is None else DURATION.format(value_ns)


def _quantiles(summary: Json) -> tuple[str | None, ...]:
    return tuple(ms(summary[name]) if summary["count"] else None for name in ("p50", "p99", "max"))


_DELAYS = tuple(f"{what} {which} ms" for what in ("delay", "lateness") for which in ("p50", "p99", "max"))

TABLES: Mapping[str, Table] = {
    "channels": Table(
        (
            *("channel", "owner", "state", "deadline", "bound", "longest", "earlier by", "class"),
            *("sent", "received", "lost", "missed", "in doubt", "bypassed", "excess"),
            *_DELAYS,
            "why",
        ),
        _channel,
        key=lambda channel: channel["name"],
        wide=frozenset({"owner", "class", "received", *_DELAYS}),
    ),
    "classes": Table(
        (
            *("domain", "class", "queue", "proof", "dscp", "up to"),
            *("sent", "received", "missed", "in doubt", "bypassed", "excess"),
            *_DELAYS,
            "channels",
        ),
        _class,
        key=lambda deadline_class: (deadline_class["domain"], deadline_class["name"]),
        wide=frozenset(_DELAYS),
    ),
    "queues": Table(
        ("switch", "interface", "queue", "class", "packets", "bytes", "errors", "by shim", "proof"),
        _queue,
        key=lambda queue: (queue["switch"], queue["interface"], queue["queue_id"]),
    ),
    "guests": Table(
        ("vm", "domain", "channels", "rate", "burst", "subscriptions", "requests", "in vain", "call-ups"),
        _guest,
        key=lambda guest: guest["vm"],
    ),
    "peers": Table(
        ("domain", "peer", "address", "state", "clocks within", "dropped", "refused", "reconnects", "channels"),
        _peer,
        key=lambda peer: (peer["peer_of"], peer["domain"]),
    ),
    "misses": Table(("at (UTC)", "channel", "late by ms"), _miss, key=lambda miss: (miss["channel"], miss["at_ns"])),
    "handlers": Table(
        (
            *("domain", "handler", "kind", "started", "failed", "timed out", "retried", "summed", "dropped", "waiting"),
            "last failure",
        ),
        _handler,
        key=lambda handler: (handler["domain"], handler["name"]),
    ),
    "switches": Table(
        ("switch", "datapath id", "state", "flows", "dropped", "why"), _switch, key=lambda switch: switch["name"]
    ),
}
