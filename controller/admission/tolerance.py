"""How lenient a shim can be with contracts without harm to any deadline.

Pure. A talker that sends at exactly its rate comes bunched after its host has stood still for some milliseconds. Held
to the letter, it would be in debt from then on: nothing ever pays that off at the same rate, and each of its packets is
postponed. So shims hold channels to somewhat more than the contract: a rate that is larger by a twentieth, which pays
off, and a burst that is larger by what the channel sends in some time, the *jitter* that is forgiven. Admission is
asked with these larger contracts: what it accepts is what shims allow, so nobody's deadline depends on the leniency.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from controller.admission.guarantee import Guarantees
from controller.model import Channel, Network
from controller.units import NS_PER_MS, NS_PER_S

Assure = Callable[[int, Network], Guarantees]

HEADROOM = 20
"""One part in so many."""

JITTERS_NS = tuple(jitter_ms * NS_PER_MS for jitter_ms in (50, 20, 10, 5, 2, 1, 0))


def leniency_ns(network: Network, guarantees: Assure | None = None) -> int | None:
    """The most jitter that can be forgiven while all deadlines are kept; None if there is no room for any leniency.

    `guarantees` works them out for a jitter and a network, if there is a faster way than from nothing.
    """
    assured = guarantees or (lambda _, enlarged_network: Guarantees(enlarged_network))
    kept = (jitter_ns for jitter_ns in JITTERS_NS if not assured(jitter_ns, enlarged(network, jitter_ns)).refusals)
    return next(kept, None)


def lenient(network: Network, jitter_ns: int | None) -> Network:
    """A copy with the contracts that shims hold channels to; `jitter_ns` is what `leniency_ns` has found."""
    return network if jitter_ns is None else enlarged(network, jitter_ns)


def enlarged(network: Network, jitter_ns: int) -> Network:
    """A copy in which each contract forgives `jitter_ns`, whether there is room for that or not."""
    channels = {name: _enlarged(channel, jitter_ns) for name, channel in network.channels.items()}
    return replace(network, channels=channels)


def _enlarged(channel: Channel, jitter_ns: int) -> Channel:
    rate_bps = channel.rate_bps + -(-channel.rate_bps // HEADROOM)
    jitter_bits = channel.wire_rate_bps * jitter_ns // NS_PER_S
    return replace(channel, rate_bps=rate_bps, burst_bytes=channel.wire_burst_bytes + -(-jitter_bits // 8))
