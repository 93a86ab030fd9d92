"""Frames as a guest's kernel makes them, and what a frame of the service says."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import ICMPv6ND_NS, IPv6
from scapy.layers.l2 import ARP, Ether

from controller.model import IpAddress, Vm
from guest.messages import SERVICE_IPV4, SERVICE_IPV6, SERVICE_PORT, Reply, Request, decoded_reply, encoded

PORT = 50_000
MAC = "02:00:00:00:00:01"
IPV4, IPV6 = IPv4Address("10.0.0.1"), IPv6Address("fd00::1")


def asked_in(payload: bytes, mac: str = MAC, source: IpAddress = IPV4, port: int = PORT) -> bytes:
    """A datagram to the service."""
    network = IP(src=str(source), dst=str(SERVICE_IPV4)) if source.version == 4 else _ipv6(source)
    return bytes(Ether(src=mac, dst="52:54:56:4e:49:43") / network / UDP(sport=port, dport=SERVICE_PORT) / payload)


def arp_request(mac: str = MAC, source: IPv4Address = IPV4, target: IPv4Address = SERVICE_IPV4) -> bytes:
    arp = ARP(op=1, hwsrc=mac, psrc=str(source), pdst=str(target))
    return bytes(Ether(src=mac, dst="ff:ff:ff:ff:ff:ff") / arp)


def solicitation(mac: str = MAC, source: IPv6Address = IPV6, target: IPv6Address = SERVICE_IPV6) -> bytes:
    ether = Ether(src=mac, dst="33:33:ff:00:52:56")
    return bytes(ether / IPv6(src=str(source), dst="ff02::1:ff00:5256") / ICMPv6ND_NS(tgt=str(target)))


def asks(vm: Vm, request: Request, nonce: int = 1, port: int = PORT) -> bytes:
    """What `vm` sends to ask `request`."""
    return asked_in(encoded(request, nonce), vm.mac, vm.addresses[0].ip, port)


def says(frame: bytes) -> tuple[Reply, int]:
    """What the service says in `frame`, and by which nonce."""
    return decoded_reply(bytes(Ether(frame)[UDP].payload))


def _ipv6(source: IpAddress) -> IPv6:
    return IPv6(src=str(source), dst=str(SERVICE_IPV6))
