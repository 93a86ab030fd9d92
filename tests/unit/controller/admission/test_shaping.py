"""What a greedy talker does to another one where both uplinks meet, by what its shim is told."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from support.fifo_simulator import Bucket, longest_delay

from controller.admission.guarantee import Guarantees
from controller.domain.shim_terms import Terms, settings
from controller.topology_file.load import parse
from controller.units import NS_PER_MS, NS_PER_S
from dataplane._core import ffi, lib

LINK_BPS = 100_000_000
FRAME_BYTES = 1546
POSTPONED_MOST_NS = 100 * NS_PER_MS
TOPOLOGY = b"""
version: 1
hypervisors:
  left: {uplink: {rate: 100Mbps, switch: s}}
  other: {uplink: {rate: 100Mbps, switch: s}}
  right: {uplink: {rate: 100Mbps, switch: s}}
switches: {s: plain}
vms:
  a: {hypervisor: left, ip: 10.0.0.1}
  b: {hypervisor: other, ip: 10.0.0.2}
  c: {hypervisor: right, ip: 10.0.0.3}
channels:
  good: {from: a, to: c, deadline: 5ms, min_rate: 20Mbps}
  greedy: {from: b, to: c, deadline: 5ms, min_rate: 2Mbps}
"""
GUARANTEES = Guarantees(parse(TOPOLOGY, Path("net.yaml")))


@dataclass(frozen=True)
class Greedy:
    """Sends at 95 Mb/s for 200 ms to the shim of a free link, which goes by `terms`, as the core has it."""

    terms: Terms

    def arrivals(self) -> Iterator[tuple[Fraction, int]]:
        core_terms: Any = ffi.new("struct terms *", {name: self.terms[name] for name in ("rate_bps", "burst_bytes")})
        bucket: Any = ffi.new("struct bucket *")
        bits = 8 * FRAME_BYTES
        free = Fraction(0)
        for sent_ns in range(0, 200 * NS_PER_MS, bits * NS_PER_S // 95_000_000):
            release_ns = sent_ns
            if self.terms["is_shaped"]:
                release_ns = lib.contract_conforming_ns(core_terms, bucket, FRAME_BYTES, sent_ns)
            if release_ns - sent_ns > POSTPONED_MOST_NS:
                continue
            lib.contract_charge(core_terms, bucket, FRAME_BYTES, release_ns)
            free = max(free, Fraction(release_ns, NS_PER_S)) + Fraction(bits, LINK_BPS)
            yield free, bits


def longest_ns(greedy: Terms) -> Fraction:
    good = GUARANTEES.network.channels["good"]
    sizes = (FRAME_BYTES,) * (good.wire_rate_bps // (5 * 8 * FRAME_BYTES))
    bucket = Bucket(LINK_BPS, good.wire_rate_bps, good.wire_burst_bytes, sizes)
    return longest_delay(LINK_BPS, [bucket, Greedy(greedy)]) * NS_PER_S


def test_excess_of_one_uplink_harms_no_channel_of_another() -> None:
    (told,) = (terms for terms in settings(GUARANTEES, "other", {}, {}).channels.values())
    bound_ns = GUARANTEES.by_channel["good"].hops[-1].bound_ns
    assert bound_ns is not None
    assert longest_ns(told) <= bound_ns < NS_PER_MS
    assert longest_ns({**told, "is_shaped": False}) > 20 * bound_ns, "what is not shaped does"
