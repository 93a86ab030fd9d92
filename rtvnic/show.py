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
from typing import Any, TypeVar

from controller.errors import CannotRun
from controller.units import DURATION, NS_PER_S, RATE, SIZE, ms
from rtvnic.connection import CURE, connection_arguments, reach
from rtvnic.table import aligned

FIRST_CONTROLLER = "http://127.0.0.1:8181"
TIMEOUT_S = 5.0

Json = dict[str, Any]
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Table:
    """How one resource of the REST API becomes a table. `key` names what is the same whichever controller tells it."""

    headers: tuple[str, ...]
    row: Callable[[Json], tuple[object, ...]]
    key: Callable[[Json], object]


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", choices=TABLES, help="what to print")
    parser.add_argument("--at", metavar="URL|unix:PATH", default=FIRST_CONTROLLER,
        help=f"any controller of the network (default: {FIRST_CONTROLLER})")  # fmt: skip
    connection_arguments(parser)
    parser.add_argument("--json", action="store_true", help="print what the REST API says")
    parser.add_argument("--follow", action="store_true",
        help="of misses: print them as they happen, with --json an object a line, until interrupted")  # fmt: skip


def run(args: argparse.Namespace) -> int:
    if args.follow:
        return _follow(args)
    entries = _collect(args)
    if args.json:
        print(json.dumps(entries, indent=2))
    elif not entries:
        print(f"no {args.what}")
    else:
        table = TABLES[args.what]
        print(aligned(table.headers, [table.row(entry) for entry in entries]))
    return 0


def _follow(args: argparse.Namespace) -> int:
    """Print misses, those of a channel summed up over 100 ms, until interrupted."""
    from rtvnic.follow import TIMEOUT, follow

    if args.what != "misses":
        raise CannotRun(f"{args.what} cannot be followed", "rtvnic show misses --follow")
    clients = [reach(args, each, TIMEOUT) for each in _controllers(args)]
    try:
        for event in follow(clients, frozenset({"misses"})):
            print(json.dumps(event) if args.json else _sum_of_misses(event), flush=True)
    except KeyboardInterrupt:
        return 0
    raise AssertionError("it follows without end")


def _sum_of_misses(event: Json) -> str:
    count, worst = event["count"], ms(event["worst_lateness_ns"])
    return f"{_instant(event['at_ns'])}  {event['channel']}  {count} missed  {worst} ms late at most"


def _collect(args: argparse.Namespace) -> list[Json]:
    """What all controllers say, each thing once. A controller that does not answer is named on stderr."""
    key = TABLES[args.what].key
    found: dict[object, Json] = {}
    for each in _controllers(args):
        try:
            said = _ask(args, each, args.what, lambda entries: [(key(entry), entry) for entry in entries])
        except CannotRun as error:
            print(error.what, file=sys.stderr)
            continue
        for entry_key, entry in said:
            found.setdefault(entry_key, entry)
    return list(found.values())


def _controllers(args: argparse.Namespace) -> list[str]:
    """Where all controllers of the network are, as the one that `args` name says: itself where it was asked, the
    others at their REST addresses. Raises CannotRun."""
    at = args.at.rstrip("/")

    def addresses(topology: Json) -> list[str]:
        others = {each["name"]: each["rest_url"] for each in topology["hypervisors"]}
        return list((others | {topology["domain"]: at}).values())

    return _ask(args, at, "topology", addresses)


def _ask(args: argparse.Namespace, at: str, what: str, read: Callable[[Any], Answer]) -> Answer:
    """What `read` finds in what the controller at `at`, a URL or unix:PATH, says of `what`.

    Raises CannotRun, also when the answer is not that of a controller.
    """
    import httpx

    try:
        with reach(args, at, TIMEOUT_S) as client:
            answer = client.get(f"/v1/{what}")
        answer.raise_for_status()
        return read(answer.json())
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        why = str(error)
    except (LookupError, TypeError):
        why = "what answers there is something else"
    raise CannotRun(f"no controller answers at {at}/v1/{what}: {why}", CURE)


def _channel(channel: Json) -> tuple[object, ...]:
    return (
        channel["name"],
        channel["owner"] or None,
        channel["state"],
        *(_duration(channel[name]) for name in ("deadline_ns", "bound_ns", "longest_ns")),
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
    return (peer["domain"], peer["address"], state, apart, " ".join(peer["channels"]))


def _handler(handler: Json) -> tuple[object, ...]:
    counts = ("started", "failed", "timed_out", "retried", "summed", "dropped", "waiting")
    return (*(handler[name] for name in ("domain", "name", "kind", *counts)), handler["why"] or None)


def _miss(miss: Json) -> tuple[object, ...]:
    return (_instant(miss["at_ns"]), miss["channel"], ms(miss["lateness_ns"]))


def _guest(guest: Json) -> tuple[object, ...]:
    outcomes = ("refused", "busy", "metered", "crowded_out", "malformed")
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


_DELAYS = ("delay p50", "p99", "max ms", "lateness p50", "p99", "max ms")

TABLES: Mapping[str, Table] = {
    "channels": Table(
        (
            *("channel", "owner", "state", "deadline", "bound", "longest", "class"),
            *("sent", "received", "lost", "missed", "in doubt", "bypassed", "excess"),
            *_DELAYS,
            "why",
        ),
        _channel,
        key=lambda channel: channel["name"],
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
    "peers": Table(("domain", "address", "state", "clocks within", "channels"), _peer, key=lambda peer: peer["domain"]),
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
