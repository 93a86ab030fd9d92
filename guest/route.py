"""Which interface leads where, and how a datagram gets to the service address through it without any route.

The service address is on no network of the VM. Linux takes a destination as on-link if the sender names the outgoing
interface (IP_UNICAST_IF) and wants no gateway (SO_DONTROUTE); neither needs a privilege. What comes back is dropped
where `rp_filter` is on and no route leads to the service: `drops_answers` knows.
"""

from __future__ import annotations

import fcntl
import socket
import struct
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from guest.errors import NoService
from guest.messages import SERVICE_IPV4, SERVICE_IPV6, SERVICE_PORT, IpAddress

_IP_UNICAST_IF = 50  # <linux/in.h>; Python has no name for it
_SIOCGIFADDR = 0x8915
_REQUEST = struct.Struct("=IHHIIBBBBBBBBIHH")  # nlmsghdr, rtmsg, and the head of one attribute
_RTMSG_END = 28  # where the attributes of an answer begin
_RTM_NEWROUTE, _RTM_GETROUTE = 24, 26
_NLM_F_REQUEST = 1
_RTA_DST, _RTA_OIF = 1, 4
_NETLINK_TIMEOUT_S = 1.0
_FILTERS = Path("/proc/sys/net/ipv4/conf")
_STRICT, _LOOSE = 1, 2


@dataclass(frozen=True)
class Way:
    """How to reach the service: the address for `sendto`, and the interface, or 0 for whichever routing finds."""

    host: str
    port: int
    interface: int = 0

    @property
    def is_ipv4(self) -> bool:
        return ":" not in self.host

    def socket(self) -> socket.socket:
        """A UDP socket whose datagrams to `address` take this way. Raises NoService."""
        family = socket.AF_INET if self.is_ipv4 else socket.AF_INET6
        try:
            opened = socket.socket(family, socket.SOCK_DGRAM)
        except OSError as error:  # IPv6 may be disabled
            raise NoService(f"this VM has no way to {self.host}: {error.strerror}") from None
        if self.interface and self.is_ipv4:
            opened.setsockopt(socket.IPPROTO_IP, _IP_UNICAST_IF, socket.htonl(self.interface))
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_DONTROUTE, 1)
        return opened

    @property
    def address(self) -> tuple[str, int] | tuple[str, int, int, int]:
        """For `sendto`."""
        return (self.host, self.port) if self.is_ipv4 else (self.host, self.port, 0, self.interface)

    def is_from_service(self, sender: tuple[str, int]) -> bool:
        """Did what `recvfrom` says is from `sender` come from the service?"""
        host, port = sender[:2]
        return port == self.port and ip_address(host.partition("%")[0]) == ip_address(self.host)


def service_way(destination: IpAddress | None = None, interface: str | None = None) -> Way:
    """The way to the service of the hypervisor that carries packets to `destination`. Raises NoService.

    By `interface` if it is given; else by that of the route to `destination`; without one, by the only one there is.
    """
    index = interface_index(interface) if interface else _outgoing(destination)
    host = SERVICE_IPV4 if _has_ipv4(index) else SERVICE_IPV6
    return Way(str(host), SERVICE_PORT, index)


def drops_answers(way: Way) -> bool:
    """Does this VM drop what comes from the service, as reverse path filtering does without a route to it?"""
    if not way.interface or not way.is_ipv4:
        return False
    mode = max(map(_filter_mode, ("all", socket.if_indextoname(way.interface))))
    back = route_interface(ip_address(way.host))
    return back != way.interface if mode == _STRICT else mode == _LOOSE and back is None


def route_interface(destination: IpAddress) -> int | None:
    """The index of the interface by which packets to `destination` leave; None where there is no route."""
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as kernel:
            kernel.settimeout(_NETLINK_TIMEOUT_S)
            kernel.sendto(_route_request(destination), (0, 0))
            return _outgoing_interface(kernel.recv(4096))
    except OSError:
        return None


def source_to(destination: IpAddress) -> IpAddress:
    """The address of this VM that its packets to `destination` have. Raises NoService."""
    family = socket.AF_INET if destination.version == 4 else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as any_socket:
            any_socket.connect((str(destination), SERVICE_PORT))  # sends nothing
            return ip_address(any_socket.getsockname()[0])
    except OSError:
        raise _no_route(destination) from None


def _no_route(destination: IpAddress) -> NoService:
    return NoService(f"no route leads to {destination}; add one, or check the address")


def interface_index(interface: str) -> int:
    """Raises NoService."""
    try:
        return socket.if_nametoindex(interface)
    except OSError:
        raise NoService(f"there is no interface '{interface}'; `ip link` shows those of this VM") from None


def _outgoing(destination: IpAddress | None) -> int:
    if destination is not None:
        index = route_interface(destination)
        if index is None:
            raise _no_route(destination)
        return index
    others = {index for index, name in socket.if_nameindex() if name != "lo"}
    if len(others) == 1:
        return others.pop()
    index = route_interface(SERVICE_IPV4)
    if index is None:
        raise NoService(f"this VM has {len(others)} interfaces; name the one to the hypervisor (--interface)")
    return index


def _has_ipv4(interface: int) -> bool:
    """Has it an IPv4 address?"""
    name = socket.if_indextoname(interface).encode()
    with suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, _SIOCGIFADDR, struct.pack("16s24x", name))
        return True
    return False


def _filter_mode(name: str) -> int:
    """`rp_filter` of an interface; of the two that count the larger one holds."""
    with suppress(OSError, ValueError):
        return int((_FILTERS / name / "rp_filter").read_text())
    return 0


def _route_request(destination: IpAddress) -> bytes:
    """RTM_GETROUTE of rtnetlink(7): which route do packets to `destination` take?"""
    packed = destination.packed
    family = socket.AF_INET if destination.version == 4 else socket.AF_INET6
    head = _REQUEST.pack(
        _REQUEST.size + len(packed), _RTM_GETROUTE, _NLM_F_REQUEST, 1, 0,
        family, 8 * len(packed), 0, 0, 0, 0, 0, 0, 0,
        4 + len(packed), _RTA_DST,
    )  # fmt: skip
    return head + packed


def _outgoing_interface(answer: bytes) -> int | None:
    """RTA_OIF of the kernel's answer; None where that is an error."""
    (kind,) = struct.unpack_from("=H", answer, 4)
    offset = _RTMSG_END
    while kind == _RTM_NEWROUTE and offset + 4 <= len(answer):
        size, attribute = struct.unpack_from("=HH", answer, offset)
        if attribute == _RTA_OIF:
            return int(struct.unpack_from("=I", answer, offset + 4)[0])
        offset += max(4, (size + 3) & ~3)
    return None
