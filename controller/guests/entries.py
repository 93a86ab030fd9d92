"""The flows that bring a guest's datagrams to its controller: no other packet of a guest ever gets there. Pure.

Only a VM with a quota may ask, from its own addresses, and each through a meter of its port's own: what exceeds that
is dropped in Open vSwitch. Whatever else goes to a service address goes nowhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv6Address

from controller.model import IpAddress, Vm
from controller.openflow.pipeline import (
    ETH_ARP,
    ETH_IPV4,
    ETH_IPV6,
    ICMPV6_NEIGHBOUR_SOLICITATION,
    IP_PROTO_ICMPV6,
    IP_PROTO_UDP,
    PORTS,
    VLAN_NONE,
    Entry,
    FlowEntry,
    MatchValue,
    PacketMeter,
    Purpose,
    ToController,
)
from guest.messages import DATAGRAM_MAX, SERVICE_IPV4, SERVICE_IPV6, SERVICE_PORT

METER_BASE = 1 << 16
"""A port's meter has this and the port's number for its own: channels have the numbers below."""

REQUESTS_PER_S = 100
REQUESTS_AT_ONCE = 50
FRAME_MAX = 14 + 40 + 8 + DATAGRAM_MAX
"""The longest datagram, by Ethernet and IPv6."""

_ASKED, _ELSE = 46, 45
"""Before all that lets in a VM's own packets."""

_Match = dict[str, MatchValue]


def service_entries(vm: Vm, port: int) -> Iterator[Entry]:
    """What becomes of packets that `vm`, at `port`, sends to the service."""
    own: _Match = {"in_port": port, "eth_src": vm.mac, "vlan_vid": VLAN_NONE}
    if vm.quota is not None:
        meter = PacketMeter(meter_id(port), REQUESTS_PER_S, REQUESTS_AT_ONCE)
        yield meter
        for match in _questions(vm):
            actions = (ToController(FRAME_MAX),)
            yield FlowEntry(PORTS, _ASKED, {**own, **match}, Purpose.GUEST, port, actions, meter_id=meter.meter_id)
    for match in _all_to_the_service(vm):
        yield FlowEntry(PORTS, _ELSE, {**own, **match}, Purpose.UNKNOWN_DESTINATION, port)


def meter_id(port: int) -> int:
    """Of the meter through which the VM at `port` asks."""
    return METER_BASE + port


def own_addresses(vm: Vm) -> tuple[IpAddress, ...]:
    """Those that the file gives it, and the one that it gives itself."""
    return (*(interface.ip for interface in vm.addresses), link_local(vm.mac))


def link_local(mac: str) -> IPv6Address:
    """The address that a host gives itself: fe80::/64 and the EUI-64 of `mac` (RFC 4291, appendix A)."""
    high, low = mac.replace(":", "")[:6], mac.replace(":", "")[6:]
    return IPv6Address((0xFE80 << 112) | (int(f"{high}fffe{low}", 16) ^ (2 << 56)))


def _questions(vm: Vm) -> Iterator[_Match]:
    """Datagrams for the service, and who asks for its MAC address."""
    datagram: _Match = {"ip_proto": IP_PROTO_UDP, "udp_dst": SERVICE_PORT}
    solicitation: _Match = {"ip_proto": IP_PROTO_ICMPV6, "icmpv6_type": ICMPV6_NEIGHBOUR_SOLICITATION}
    for address in own_addresses(vm):
        yield {**_to_the_service(address), **datagram}
        if address.version == 4:
            yield _arp_for_the_service(vm, address)
        else:
            target: _Match = {"ipv6_nd_target": str(SERVICE_IPV6)}
            yield {"eth_type": ETH_IPV6, "ipv6_src": str(address), **solicitation, **target}


def _all_to_the_service(vm: Vm) -> Iterator[_Match]:
    for address in own_addresses(vm):
        yield _to_the_service(address)
        if address.version == 4:
            yield _arp_for_the_service(vm, address)


def _to_the_service(address: IpAddress) -> _Match:
    if address.version == 4:
        return {"eth_type": ETH_IPV4, "ipv4_src": str(address), "ipv4_dst": str(SERVICE_IPV4)}
    return {"eth_type": ETH_IPV6, "ipv6_src": str(address), "ipv6_dst": str(SERVICE_IPV6)}


def _arp_for_the_service(vm: Vm, address: IpAddress) -> _Match:
    return {"eth_type": ETH_ARP, "arp_sha": vm.mac, "arp_spa": str(address), "arp_tpa": str(SERVICE_IPV4)}
