"""What a guest may not do: labels, tags and addresses that are not its own, and a DSCP that no channel gave.

A VM of a running network sends 10,000 frames of each kind; what Open vSwitch, the shim, the wire and the VMs say of
them must agree to the frame. They bear a mark, by which they are known wherever they may come out. Needs root.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv6Address
from pathlib import Path
from typing import Any

import httpx
import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import ICMPv6ND_NA, ICMPv6ND_NS, ICMPv6ND_RA, ICMPv6NDOptDstLLAddr, IPv6
from scapy.layers.l2 import ARP, Dot1AD, Dot1Q, Ether
from scapy.packet import Packet, Raw
from scapy.utils6 import in6_getnsma, in6_getnsmac
from support.frames import ETHERTYPE_MPLS, label_entry

import topologies
from bench.traffic import BATCH, SO_RCVBUFFORCE, Source
from controller.guests.entries import link_local, own_addresses
from controller.network.labels import TTL_CHANNEL, TTL_RELATIVE, TTL_STAMPED, relative_deadline_label
from controller.network.wiring import port_to
from controller.topology_file.load import load
from ovs_config.links import network_of
from topologies.cables import nic_of
from topologies.testbed import Testbed

FILE = Path(topologies.__file__).parent / "two_hypervisors.yaml"
GUEST, PEER, STRANGER, NEIGHBOUR = "sensor", "plant", "screen", "camera"
"""The VM that forges, the one that its channels lead to, another one over there, one beside it with its own channel."""

COUNT = 10_000
"""Of each kind, or the next number of whole rounds of its variants."""

INTERVAL_PS = 10**8
"""10,000 frames per second: Open vSwitch keeps up with them."""

PATIENCE_S = 10.0
FRAME_BYTES = 128
MARK = b"forgery!"
BROADCAST = "ff:ff:ff:ff:ff:ff"
ETHERTYPE_MPLS_MULTICAST = 0x8848
ECN = 1
BUFFER_BYTES = 64 << 20
"""Room for all frames of a kind: nobody reads before all are sent."""

ETH_P_ALL = 3
SOL_PACKET = 263
PACKET_IGNORE_OUTGOING = 23

NETWORK = load(FILE)
VMS, CHANNELS = NETWORK.vms, NETWORK.channels
IPV4, IPV6 = (VMS[GUEST].addresses[index].ip for index in (0, 1))
OWN, FOREIGN = CHANNELS["control"], CHANNELS["video"]

Counts = dict[Any, tuple[int, ...]]


def marked(packet: Packet) -> bytes:
    """`packet` as a frame of FRAME_BYTES with the mark at its end.

    The mark is part of a UDP packet, for a bridge may cut off what follows a packet.
    """
    rest = bytes(FRAME_BYTES - len(packet) - len(MARK)) + MARK
    return bytes(packet / Raw(rest)) if UDP in packet else bytes(packet) + rest


def ethernet(source: str = VMS[GUEST].mac, destination: str = VMS[PEER].mac, **more: int) -> Packet:
    return Ether(src=source, dst=destination, **more)


def honest() -> Packet:
    """A packet of the guest's own channel."""
    return IP(src=str(OWN.source), dst=str(OWN.destination)) / UDP(sport=4000, dport=OWN.dst_port)


def over_ipv6(source: Any = IPV6, destination: Any = "fd00::99", **more: int) -> Packet:
    """Not of a channel, unless `destination` says so."""
    return IPv6(src=str(source), dst=str(destination), **more) / UDP(sport=4000, dport=7000)


def label_stacks(labels: int) -> Iterator[bytes]:
    """Of the guest's channel and of a foreign one, as on the edf port (TTL 255) and as on the wire (254).

    One label is the channel's or the deadline's alone.
    """
    for channel in (OWN, FOREIGN):
        deadline, tc = relative_deadline_label(channel.deadline_ns), channel.deadline_class.queue_id
        for ttl in (TTL_RELATIVE, TTL_STAMPED):
            if labels == 1:
                yield label_entry(channel.label, tc, is_bottom=True, ttl=ttl)
                yield label_entry(deadline, tc, is_bottom=True, ttl=ttl)
            else:
                yield label_entry(deadline, tc, ttl=ttl) + label_entry(channel.label, tc, True, TTL_CHANNEL)


def labelled(lower: Packet) -> Iterator[Packet]:
    """`lower`, then one or two labels, then a channel's packet."""
    for labels in (1, 2):
        for stack in label_stacks(labels):
            yield lower / Raw(stack) / honest()


def mpls(labels: int) -> Iterator[Packet]:
    for ethertype in (ETHERTYPE_MPLS, ETHERTYPE_MPLS_MULTICAST):
        for stack in label_stacks(labels):
            yield ethernet(type=ethertype) / Raw(stack) / honest()


def tagged(*tags: Packet) -> Iterator[Packet]:
    """Packets that would be let in without `tags`, which a frame of priority only (VLAN 0) has too."""
    lower = ethernet()
    for tag in tags:
        lower = lower / tag
    yield lower / honest()
    yield lower / over_ipv6()
    yield lower / ARP(op=1, hwsrc=VMS[GUEST].mac, psrc=str(IPV4), pdst=str(VMS[PEER].addresses[0].ip))


def wrong_mac() -> Iterator[Packet]:
    for source in (VMS[NEIGHBOUR].mac, VMS[PEER].mac, "02:00:00:00:00:fe", BROADCAST):
        for packet in (honest(), over_ipv6(), ARP(op=1, hwsrc=VMS[GUEST].mac, psrc=str(IPV4), pdst="10.0.0.12")):
            yield ethernet(source) / packet


def wrong_ipv4() -> Iterator[Packet]:
    """Among them the packets of a channel of its neighbour."""
    for source in (FOREIGN.source, VMS[PEER].addresses[0].ip, "0.0.0.0", "127.0.0.1", "255.255.255.255", "224.0.0.1"):
        for destination in (OWN.destination, FOREIGN.destination):
            yield ethernet() / IP(src=str(source), dst=str(destination)) / UDP(sport=4000, dport=7000)


def wrong_ipv6() -> Iterator[Packet]:
    """Among them the unspecified address, which is for ICMPv6 only."""
    for source in ("fd00::12", "fd00::99", link_local(VMS[NEIGHBOUR].mac), "::", "::1", "ff02::1"):
        for destination in ("fd00::12", "fd00::99"):
            yield ethernet() / over_ipv6(source, destination)


def foreign_arp() -> Iterator[Packet]:
    """An address or a MAC that is another's, in questions, answers and announcements."""
    own, neighbour = VMS[GUEST], VMS[NEIGHBOUR]
    theirs = str(neighbour.addresses[0].ip)
    for operation in (1, 2):
        for destination in (VMS[PEER].mac, BROADCAST):
            for mac, address in ((own.mac, theirs), (neighbour.mac, str(IPV4)), (neighbour.mac, theirs)):
                frame = ethernet(destination=destination)
                yield frame / ARP(op=operation, hwsrc=mac, psrc=address, pdst="10.0.0.12")
                yield frame / ARP(op=operation, hwsrc=mac, psrc=address, pdst=address)


def foreign_probes() -> Iterator[Packet]:
    """Whether an address that is another's is free: who hears that while it takes the address gives it up."""
    for address in (*own_addresses(VMS[NEIGHBOUR]), *own_addresses(VMS[PEER])):
        if address.version == 4:
            probe = ARP(op=1, hwsrc=VMS[GUEST].mac, psrc="0.0.0.0", pdst=str(address))
            yield ethernet(destination=BROADCAST) / probe
        else:
            group = in6_getnsma(address.packed)
            lower = ethernet(destination=in6_getnsmac(group)) / IPv6(src="::", dst=str(IPv6Address(group)), hlim=255)
            yield lower / ICMPv6ND_NS(tgt=str(address))


def other_ethertypes() -> Iterator[Packet]:
    """LLDP, EAPOL, PPPoE, an experimental one; a spanning tree's frame, which has a length in its place."""
    for ethertype in (0x88CC, 0x888E, 0x8864, 0x88B5):
        yield ethernet(type=ethertype) / Raw(bytes(46))
    yield Ether(src=VMS[GUEST].mac, dst="01:80:c2:00:00:00", type=38) / Raw(bytes.fromhex("424203") + bytes(43))


def neighbour_advertisements() -> Iterator[Packet]:
    """For an address that is another's, to one who may have asked for it."""
    for target in (link_local(VMS[NEIGHBOUR].mac), VMS[PEER].addresses[1].ip):
        yield ICMPv6ND_NA(tgt=str(target), R=0, S=0, O=1) / ICMPv6NDOptDstLLAddr(lladdr=VMS[GUEST].mac)


def router_advertisements() -> Iterator[Packet]:
    """From one that is no router. It says so itself, or the VMs would take it for theirs."""
    yield ICMPv6ND_RA(routerlifetime=0)


def to_stranger(packet: Packet) -> Packet:
    """An ICMPv6 `packet` from the guest's own link-local address."""
    own, stranger = VMS[GUEST].mac, VMS[STRANGER].mac
    addresses = IPv6(src=str(link_local(own)), dst=str(link_local(stranger)), hlim=255)
    return ethernet(destination=stranger) / addresses / packet


FORGED: dict[str, Callable[[], Iterator[Packet]]] = {
    "one label": lambda: mpls(1),
    "two labels": lambda: mpls(2),
    "802.1Q": lambda: (
        frame for vlan in (0, 5, 4095) for prio in (0, 7) for frame in tagged(Dot1Q(vlan=vlan, prio=prio))
    ),
    "QinQ": lambda: tagged(Dot1AD(vlan=5), Dot1Q(vlan=6)),
    "802.1Q and labels": lambda: labelled(ethernet() / Dot1Q(vlan=5, type=ETHERTYPE_MPLS)),
    "QinQ and labels": lambda: labelled(ethernet() / Dot1AD(vlan=5) / Dot1Q(vlan=6, type=ETHERTYPE_MPLS)),
    "three tags": lambda: tagged(Dot1AD(vlan=5), Dot1Q(vlan=6), Dot1Q(vlan=7)),
    "wrong MAC": wrong_mac,
    "wrong IPv4 address": wrong_ipv4,
    "wrong IPv6 address": wrong_ipv6,
    "foreign address in ARP": foreign_arp,
    "foreign address in a probe": foreign_probes,
    "other ethertypes": other_ethertypes,
}


def best_effort_ipv4(tos: int) -> Packet:
    return IP(src=str(IPV4), dst="10.0.0.99", tos=tos) / UDP(sport=4000, dport=7000)


def best_effort_ipv6(traffic_class: int) -> Packet:
    return over_ipv6(tc=traffic_class)


def traffic_class(frame: bytes) -> int:
    """DSCP and ECN of a frame without labels."""
    packet = Ether(frame)
    return int(packet[IP].tos if IP in packet else packet[IPv6].tc)


class Tap:
    """Sees the marked frames that come in by an interface, of the network namespace of `pid` if that is given."""

    def __init__(self, interface: str, pid: int | None = None) -> None:
        with network_of(pid):
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        self._socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER_BYTES)
        self._socket.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
        self._socket.bind((interface, ETH_P_ALL))
        self._socket.setblocking(False)

    def frames(self) -> list[bytes]:
        """Those since the last call."""
        found = []
        while (frame := self._next()) is not None:
            if frame.endswith(MARK):
                found.append(frame)
        return found

    def _next(self) -> bytes | None:
        try:
            return self._socket.recv(2048)
        except BlockingIOError:
            return None

    def close(self) -> None:
        self._socket.close()


@dataclass(frozen=True)
class Books:
    """What has been counted: the hypervisor's drops by cause; the packets of each real-time queue, by the queue and by
    the shim, and all that were real-time to the shim; each channel's sent, received and lost ones.
    """

    dropped: dict[str, int]
    queues: Counts
    shim: int
    channels: Counts


class Lab:
    """A running network in which the guest sends, and taps at its uplink and in all other VMs."""

    def __init__(self, testbed: Testbed) -> None:
        self._testbed = testbed
        self._rest_url = NETWORK.hypervisors[VMS[GUEST].hypervisor].controller.rest_url
        self._interface = nic_of(VMS[GUEST])
        hypervisor = NETWORK.hypervisors[VMS[GUEST].hypervisor]
        self.wire = Tap(port_to(NETWORK, hypervisor.uplink.switch, hypervisor.name).interface)
        self.vms = {name: Tap(nic_of(vm), testbed.pid(name)) for name, vm in VMS.items() if name != GUEST}
        self.forged = 0
        self._await_probes()
        self.before = self.books()

    def send(self, packets: Sequence[Packet]) -> int:
        """Send COUNT frames or a few more, each of `packets` equally often. Returns how many."""
        burst = len(packets) * max(1, 32 // len(packets))
        assert burst <= BATCH
        return self._send(packets, burst, -(-COUNT // burst) * burst, INTERVAL_PS)

    def send_slowly(self, packet: Packet) -> int:
        """Send some copies of `packet`, at a rate that its channel has been promised. Returns how many."""
        return self._send([packet], 1, 200, 4 * 10**9)

    def _send(self, packets: Sequence[Packet], burst: int, count: int, interval_ps: int) -> int:
        with network_of(self._testbed.pid(GUEST)):
            port = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        with port:
            port.bind((self._interface, 0))
            source = Source(port, [*map(marked, packets)], interval_ps=interval_ps, burst=burst, count=count)
            source.run()
        assert source.sent == count
        return count

    def _await_probes(self) -> None:
        """The controller's own frames to try the queues: 32 in each, counted by the next time that it asks."""
        eventually(lambda: {queue["proof"] for queue in self._ask("queues")}, {"proved"})
        eventually(lambda: {queue["packets"] for queue in self._ask("queues") if queue["queue_id"] != 0}, {32})

    def books(self) -> Books:
        """As of the last time that the controller asked."""
        queues = [queue for queue in self._ask("queues") if queue["queue_id"] != 0]
        return Books(
            dropped=self._ask("switches")[0]["dropped"],
            queues={
                (queue["interface"], queue["queue_id"]): (queue["packets"], queue["shim_packets"]) for queue in queues
            },
            shim=self._ask("shim")["egress"].get("real_time_packets", 0),
            channels={
                name: (channel["sent"], channel["received"], channel["lost"])
                for name, channel in self._testbed.channels().items()
            },
        )

    def dropped(self) -> int:
        """By the guest's hypervisor since the start, as spoofed; all other causes stay as they are."""
        now, before = self.books().dropped, self.before.dropped
        assert {**now, "spoofed": 0} == {**before, "spoofed": 0}
        return now["spoofed"] - before["spoofed"]

    def arrived(self) -> dict[str, int]:
        """How many marked frames came to which VMs since this was asked last."""
        return {name: count for name, tap in self.vms.items() if (count := len(tap.frames()))}

    def _ask(self, what: str) -> Any:
        return httpx.get(f"{self._rest_url}/v1/{what}", trust_env=False).json()

    def close(self) -> None:
        for tap in (self.wire, *self.vms.values()):
            tap.close()


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Testbed(NETWORK) as testbed:
        testbed.await_channels()
        lab = Lab(testbed)
        yield lab
        lab.close()


def increase(before: Counts, after: Counts) -> Counts:
    """Where `after` differs, and by how much. What was not told of before was zero."""
    differences = {
        key: tuple(now - then for now, then in zip(counts, before.get(key, [0] * len(counts)), strict=True))
        for key, counts in after.items()
    }
    return {key: difference for key, difference in differences.items() if any(difference)}


def eventually(probe: Callable[[], Any], wanted: Any) -> None:
    """Fails unless `probe` returns `wanted` before long: counters are read once a second."""
    end_s = time.monotonic() + PATIENCE_S
    while (found := probe()) != wanted:
        assert time.monotonic() < end_s, f"found {found}, wanted {wanted}"
        time.sleep(0.05)


@pytest.mark.parametrize("kind", FORGED)
def test_forged_frames_are_dropped_to_the_last(lab: Lab, kind: str) -> None:
    before = lab.dropped()
    sent = lab.send(list(FORGED[kind]()))
    lab.forged += sent
    eventually(lambda: lab.dropped() - before, sent)
    assert lab.wire.frames() == []
    assert lab.arrived() == {}


@pytest.mark.parametrize("packet", [best_effort_ipv4, best_effort_ipv6])
def test_no_dscp_gets_out_without_a_channel(lab: Lab, packet: Callable[[int], Packet]) -> None:
    """All 64, to a VM that the guest has no channel to."""
    sent = lab.send([ethernet(destination=VMS[STRANGER].mac) / packet(dscp << 2 | ECN) for dscp in range(64)])
    seen, delivered = [], []

    def arrived() -> tuple[int, int]:
        seen.extend(lab.wire.frames())
        delivered.extend(lab.vms[STRANGER].frames())
        return len(seen), len(delivered)

    eventually(arrived, (sent, sent))
    assert {traffic_class(frame) for frame in seen + delivered} == {ECN}
    assert lab.arrived() == {}


@pytest.mark.parametrize("packets", [neighbour_advertisements, router_advertisements])
def test_neighbours_are_not_misled(lab: Lab, packets: Callable[[], Iterator[Packet]]) -> None:
    before = lab.dropped()
    sent = lab.send([to_stranger(packet) for packet in packets()])
    seen: list[bytes] = []

    def found() -> int:
        seen.extend(lab.wire.frames())
        return lab.dropped() - before + len(seen)

    eventually(found, sent)
    lab.forged += lab.dropped() - before
    assert len(seen) == 0


def test_the_honest_channel_works_and_nothing_else_was_real_time(lab: Lab) -> None:
    """Since the network came up: the books of all real-time queues and channels show these packets and no others."""
    sent = lab.send_slowly(ethernet() / honest())
    queue = (NETWORK.hypervisors[VMS[GUEST].hypervisor].uplink.interface, OWN.deadline_class.queue_id)
    eventually(lambda: increase(lab.before.queues, lab.books().queues), {queue: (sent, sent)})
    eventually(lambda: increase(lab.before.channels, lab.books().channels), {OWN.name: (sent, sent, 0)})
    assert lab.books().shim - lab.before.shim == sent
    assert lab.dropped() == lab.forged
    delivered = lab.vms[PEER].frames()
    assert len(delivered) == sent
    assert {traffic_class(frame) for frame in delivered} == {OWN.deadline_class.dscp << 2}
