"""What `rtvnic-guest` prints: lines for people, or objects of JSON, one a line."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from guest.messages import IpAddress, ListedChannel, Missed
from guest.session import Standing, state_of
from guest.units import DURATION, RATE

PROTOCOLS = {0: "any", 6: "tcp", 17: "udp"}
_HEADERS = ("id", "from", "to", "protocol", "deadline", "rate", "state", "lease")

Json = dict[str, Any]


def line(value: Json) -> str:
    """One object of JSON, in one line."""
    return json.dumps(value, default=str)


def standing_object(standing: Standing) -> Json:
    known = asdict(standing) | {"state": standing.state.name.lower(), "bound_ns": standing.bound_ns or None}
    return {"event": "channel"} | {key: value for key, value in known.items() if key != "is_lost"}


def standing_text(standing: Standing) -> str:
    bound = f", takes {DURATION.format(standing.bound_ns)} at most" if standing.bound_ns else ""
    reason = f": {standing.reason}" if standing.reason else ""
    contract = f"deadline {DURATION.format(standing.deadline_ns)}, {RATE.format(standing.rate_bps)}"
    return f"channel {standing.channel_id} is {standing.state.name.lower()}, {contract}{bound}{reason}"


def missed_object(missed: Missed) -> Json:
    return {"event": "missed"} | asdict(missed)


def missed_text(missed: Missed) -> str:
    worst, window = DURATION.format(missed.worst_ns), DURATION.format(missed.window_ns)
    late = f"{missed.misses} of {missed.packets} packets in {window} were late, by {worst} at most"
    return f"channel {missed.channel_id}: {late}; {missed.total_misses} in all"


def listed_object(channel: ListedChannel) -> Json:
    words = {"protocol": PROTOCOLS.get(channel.protocol), "state": state_of(channel.state).name.lower()}
    return asdict(channel) | words


def listed_table(channels: Sequence[ListedChannel]) -> str:
    """A line for each channel, under headers."""
    if not channels:
        return "no channels"
    rows = [_HEADERS, *map(_row, channels)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def _row(channel: ListedChannel) -> tuple[str, ...]:
    return (
        str(channel.channel_id),
        _end(channel.source, channel.src_port),
        _end(channel.destination, channel.dst_port),
        PROTOCOLS.get(channel.protocol, str(channel.protocol)),
        DURATION.format(channel.deadline_ns),
        RATE.format(channel.rate_bps),
        state_of(channel.state).name.lower(),
        f"{channel.lease_s}s" if channel.lease_s else "-",
    )


def _end(address: IpAddress, port: int) -> str:
    host = f"[{address}]" if address.version == 6 and port else str(address)
    return f"{host}:{port}" if port else host
