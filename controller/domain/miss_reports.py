"""From what a shim tells of misses to reports for the controllers of the talkers, and what those keep of them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from controller.clocks.clock import as_number_ns
from controller.domain.events import MissCount
from controller.model import Network
from controller.peering.messages import MissReport


@dataclass(frozen=True)
class HeardReport:
    """A miss report that the domain of the talker has taken at `heard_at_ns` of its wall clock."""

    domain: str
    report: MissReport
    heard_at_ns: int


def reports_by_domain(
    network: Network, names: Mapping[int, str], counts: Iterable[MissCount], differences_ns: Mapping[str, int | None]
) -> dict[str, tuple[MissReport, ...]]:
    """What to tell each talker's domain of `counts`. Of labels that are not in `names` of channels nothing is told.

    `differences_ns`: how far those domains' clocks are from the own one at most.
    """
    found: dict[str, list[MissReport]] = {}
    for count in counts:
        if count.label in names:
            domain = network.talker_domain(network.channels[names[count.label]])
            clock_error_ns = as_number_ns(differences_ns.get(domain, 0))
            found.setdefault(domain, []).append(_report(names[count.label], count, clock_error_ns))
    return {domain: tuple(reports) for domain, reports in found.items()}


def _report(channel: str, count: MissCount, clock_error_ns: int) -> MissReport:
    return MissReport(
        channel=channel,
        misses=count.misses,
        packets=count.packets,
        worst_ns=count.worst_ns,
        mean_ns=count.mean_ns,
        window_ns=count.window_ns,
        total_misses=count.total_misses,
        clock_error_ns=clock_error_ns,
        first_at_ns=count.first_at_ns,
    )
