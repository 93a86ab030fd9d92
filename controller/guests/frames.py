"""Ethernet frames of guests at the service address: what they ask, and the frames that answer. Pure.

Hazard: a guest sends any bytes it likes. Guarantee: `read` looks at nothing beyond the frame, refuses fragments and
whatever contradicts itself, and raises nothing but BadFrame. Of datagrams the checksums are not looked at: a guest's
kernel leaves those to hardware that a virtual NIC may not have.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Any

from controller.model import IpAddress
from controller.openflow import pipeline
from controller.openflow.pipeline import (
    ETH_ARP,
    ETH_IPV4,
    ETH_IPV6,
    ICMPV6_NEIGHBOUR_SOLICITATION,
    IP_PROTO_ICMPV6,
    IP_PROTO_UDP,
)
from guest.messages import DATAGRAM_MAX, SERVICE_IPV4, SERVICE_IPV6, SERVICE_PORT

SERVICE_MAC = b"RTVNIC"
"""52:54:56:4e:49:43: of the locally administered ones."""

_ETHERNET = struct.Struct("!6s6sH")
_IPV4 = struct.Struct("!BBHHHBBH4s4s")
_IPV6 = struct.Struct("!IHBB16s16s")
_UDP = struct.Struct("!HHHH")
_ARP = struct.Struct("!HHBBH6s4s6s4s")
_SOLICITATION = struct.Struct("!BBH4x16s")
_ADVERTISEMENT = struct.Struct("!BBHI16sBB6s")

_ARP_FOR_IPV4 = (1, ETH_IPV4, 6, 4)
_ARP_REQUEST, _ARP_REPLY = 1, 2
_ADVERTISEMENT_TYPE, _SOLICITED_OVERRIDE, _TARGET_ADDRESS_OPTION = 136, 0x60000000, 2
_MORE_FRAGMENTS_OR_OFFSET = 0x3FFF
_HOPS = 255


class BadFrame(ValueError):
    """A frame that is no question to the service. Its text says why."""


@dataclass(frozen=True)
class Sender:
    """Where a frame of a guest comes from, and where the answer goes."""

    mac: bytes
    address: IpAddress


@dataclass(frozen=True)
class AddressAsked:
    """Which MAC address has the service?"""

    sender: Sender


@dataclass(frozen=True)
class Datagram:
    """What a guest has sent to the service from `port`."""

    sender: Sender
    port: int
    payload: bytes


def read(frame: bytes) -> AddressAsked | Datagram:
    """What `frame` asks. Raises BadFrame."""
    _, mac, eth_type = _fields(_ETHERNET, frame)
    packet = frame[_ETHERNET.size :]
    match eth_type:
        case pipeline.ETH_ARP:
            return _read_arp(packet)
        case pipeline.ETH_IPV4:
            return _read_ipv4(mac, packet)
        case pipeline.ETH_IPV6:
            return _read_ipv6(mac, packet)
    raise BadFrame(f"Ethernet type {eth_type:#06x}")


def here_it_is(to: Sender) -> bytes:
    """The answer to AddressAsked."""
    if to.address.version == 4:
        ends = (SERVICE_MAC, SERVICE_IPV4.packed, to.mac, to.address.packed)
        return _ethernet(to.mac, ETH_ARP, _ARP.pack(*_ARP_FOR_IPV4, _ARP_REPLY, *ends))
    option = (_TARGET_ADDRESS_OPTION, 1, SERVICE_MAC)
    fields = (_SOLICITED_OVERRIDE, SERVICE_IPV6.packed, *option)
    unsummed = _ADVERTISEMENT.pack(_ADVERTISEMENT_TYPE, 0, 0, *fields)
    summed = _ADVERTISEMENT.pack(_ADVERTISEMENT_TYPE, 0, _sum(_pseudo(to, IP_PROTO_ICMPV6, unsummed)), *fields)
    return _ip(to, IP_PROTO_ICMPV6, summed)


def datagram(to: Sender, port: int, payload: bytes) -> bytes:
    """A frame with `payload` from the service."""
    size = _UDP.size + len(payload)
    unsummed = _UDP.pack(SERVICE_PORT, port, size, 0) + payload
    checksum = _sum(_pseudo(to, IP_PROTO_UDP, unsummed)) or 0xFFFF
    return _ip(to, IP_PROTO_UDP, _UDP.pack(SERVICE_PORT, port, size, checksum) + payload)


def _read_arp(packet: bytes) -> AddressAsked:
    *kind, operation, mac, address, _, target = _fields(_ARP, packet)
    if (*kind, operation) != (*_ARP_FOR_IPV4, _ARP_REQUEST):
        raise BadFrame("ARP, and not a request for an IPv4 address")
    if target != SERVICE_IPV4.packed:
        raise BadFrame("ARP for another address")
    return AddressAsked(Sender(mac, IPv4Address(address)))


def _read_ipv4(mac: bytes, packet: bytes) -> Datagram:
    version, _, length, _, fragment, _, protocol, _, source, destination = _fields(_IPV4, packet)
    header_bytes = 4 * (version & 0xF)
    if version >> 4 != 4 or not _IPV4.size <= header_bytes <= length <= len(packet):
        raise BadFrame(f"IPv4 with a header of {header_bytes} and {length} bytes in all, of {len(packet)}")
    if fragment & _MORE_FRAGMENTS_OR_OFFSET:
        raise BadFrame("a fragment")
    if protocol != IP_PROTO_UDP or destination != SERVICE_IPV4.packed:
        raise BadFrame("not UDP to the service")
    return _read_udp(Sender(mac, IPv4Address(source)), packet[header_bytes:length])


def _read_ipv6(mac: bytes, packet: bytes) -> AddressAsked | Datagram:
    first, length, protocol, _, source, destination = _fields(_IPV6, packet)
    if first >> 28 != 6 or length > len(packet) - _IPV6.size:
        raise BadFrame(f"IPv6 of {length} bytes, of {len(packet) - _IPV6.size}")
    sender, content = Sender(mac, IPv6Address(source)), packet[_IPV6.size : _IPV6.size + length]
    if protocol == IP_PROTO_ICMPV6:
        return _read_solicitation(sender, content)
    if protocol != IP_PROTO_UDP or destination != SERVICE_IPV6.packed:
        raise BadFrame("not UDP to the service")
    return _read_udp(sender, content)


def _read_solicitation(sender: Sender, content: bytes) -> AddressAsked:
    kind, _, _, target = _fields(_SOLICITATION, content)
    if kind != ICMPV6_NEIGHBOUR_SOLICITATION or target != SERVICE_IPV6.packed:
        raise BadFrame("no solicitation for the service")
    return AddressAsked(sender)


def _read_udp(sender: Sender, segment: bytes) -> Datagram:
    port, to_port, length, _ = _fields(_UDP, segment)
    if not _UDP.size <= length <= len(segment) or length > _UDP.size + DATAGRAM_MAX:
        raise BadFrame(f"a datagram of {length} bytes, of {len(segment)}")
    if to_port != SERVICE_PORT or not port:
        raise BadFrame(f"a datagram from port {port} to {to_port}")
    return Datagram(sender, port, segment[_UDP.size : length])


def _fields(layout: struct.Struct, data: bytes) -> tuple[Any, ...]:
    if len(data) < layout.size:
        raise BadFrame(f"{len(data)} bytes, where {layout.size} are the least")
    return layout.unpack_from(data)


def _ip(to: Sender, protocol: int, content: bytes) -> bytes:
    if to.address.version == 4:
        ends = (SERVICE_IPV4.packed, to.address.packed)
        fields = (0x45, 0, _IPV4.size + len(content), 0, 0, _HOPS, protocol)
        checksum = _sum(_IPV4.pack(*fields, 0, *ends))
        return _ethernet(to.mac, ETH_IPV4, _IPV4.pack(*fields, checksum, *ends) + content)
    ends = (SERVICE_IPV6.packed, to.address.packed)
    return _ethernet(to.mac, ETH_IPV6, _IPV6.pack(6 << 28, len(content), protocol, _HOPS, *ends) + content)


def _ethernet(mac: bytes, eth_type: int, content: bytes) -> bytes:
    return _ETHERNET.pack(mac, SERVICE_MAC, eth_type) + content


def _pseudo(to: Sender, protocol: int, content: bytes) -> bytes:
    """What the checksum of `content` covers (RFC 768, RFC 8200)."""
    if to.address.version == 4:
        return SERVICE_IPV4.packed + to.address.packed + struct.pack("!BBH", 0, protocol, len(content)) + content
    return SERVICE_IPV6.packed + to.address.packed + struct.pack("!II", len(content), protocol) + content


def _sum(data: bytes) -> int:
    """The Internet checksum (RFC 1071)."""
    padded = data + b"\0" * (len(data) % 2)
    total: int = sum(struct.unpack(f"!{len(padded) // 2}H", padded))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
