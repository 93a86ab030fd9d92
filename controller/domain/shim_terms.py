"""What a domain's shim is to hold: the link, and the terms of each channel, in the names of the shim's protocol.

Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from controller.admission.guarantee import Guarantees
from controller.clocks.clock import as_number_ns

Terms = Mapping[str, Any]


@dataclass(frozen=True)
class Settings:
    """`link` has `rate_bps`, `be_slack_ns` and `allowance_ns`; `channels` are the terms by channel label."""

    link: Terms
    channels: Mapping[int, Terms] = field(default_factory=dict)


def settings(
    guarantees: Guarantees, name: str, differences_ns: Mapping[str, int | None], adapted_ns: Mapping[str, int]
) -> Settings:
    """Of the shim of the domain `name`, for all channels that cross its uplink, in either direction.

    `differences_ns`: how far the clocks of other domains are from its own at most; None where nobody knows. The
    channels of `adapted_ns` are due so much earlier than planned.
    """
    network = guarantees.network
    hypervisor = network.hypervisors[name]
    return Settings(
        link={
            "rate_bps": hypervisor.uplink.rate_bps,
            "be_slack_ns": hypervisor.uplink.be_slack_ns,
            "allowance_ns": hypervisor.allowance_ns,
        },
        channels={
            channel.label: {
                "label": channel.label,
                "rate_bps": channel.wire_rate_bps,
                "burst_bytes": channel.wire_burst_bytes,
                "downstream_ns": guarantees.downstream_ns(channel) + adapted_ns.get(channel.name, 0),
                "clock_error_ns": as_number_ns(differences_ns.get(network.talker_domain(channel), 0)),
                "late": channel.late,
                "strips_labels": channel.listener in network.hosts,
                "is_shaped": guarantees.paths.is_shaped(guarantees.ways[channel.name]),
            }
            for channel in network.channels.values()
            if name in network.domains(channel) and channel.name in guarantees.ways
        },
    )
