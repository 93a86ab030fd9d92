"""What a domain says of its own ends of channels. Pure; each function reads the domain once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from controller.domain.known import Known
from controller.domain.lifecycle import State
from controller.domain.parts import End
from controller.domain.reports import EndReport, Excess, Role, Summary
from controller.openflow.counts import Traffic
from controller.openflow.pipeline import Purpose


def end_reports(domain: Known) -> dict[str, EndReport]:
    """Of all its ends, by the channel's name."""
    traffic = domain.bridges[domain.name].traffic()
    return {name: end_report(domain, end, traffic) for name, end in domain.ends.items()}


def end_report(domain: Known, end: End, traffic: Mapping[tuple[Purpose, int], Traffic]) -> EndReport:
    """Of `end`; `traffic` is what the flows of the domain's bridge have counted."""
    is_talker, (state, why) = end.role is Role.TALKER, domain.standing(end)
    since_ns = domain.degraded_since_ns(end) if state is State.DEGRADED else end.since_ns
    counted = traffic.get((Purpose.TALKER if is_talker else Purpose.LISTENER, end.channel.label), Traffic())
    book = domain.shim.statistics.get("channels", {}).get(str(end.channel.label), {})

    def of_listener(name: str) -> int | None:
        if is_talker:
            return 0
        return None if domain.awaits_counts else book.get(name, 0)

    return EndReport(
        role=end.role,
        state=state,
        why=why,
        version=domain.versions.get(end.channel.name),
        since_ns=domain.wall_offset_ns + since_ns,
        packets=counted.packets,
        bytes=counted.bytes,
        missed=of_listener("missed"),
        within_clock_error=of_listener("within_clock_error"),
        unjudged=of_listener("unjudged"),
        clock_error_ns=domain.clock_error_ns(end.channel),
        bypassed=of_listener("bypassed"),
        excess=_excess(domain, end, book) if is_talker else Excess(),
        delay=Summary(**book.get("queueing_delay" if is_talker else "lateness", {"count": 0})),
    )


def _excess(domain: Known, end: End, book: Mapping[str, Any]) -> Excess | None:
    """What the shim has counted, and what the channel's meter has dropped."""
    if domain.awaits_counts:
        return None
    metered = domain.bridges[domain.name].meters.get(end.channel.label, 0) if end.has_meter else 0
    counted = {name: book.get(name, 0) for name in Excess.model_fields}
    return Excess(**{**counted, "excess_dropped": counted["excess_dropped"] + metered})
