"""Do the queues of a port work? Marked frames of each class are sent out of it, and the kernel's classes counted.

Each class gets frames of all marks by which filters know it; best effort gets frames with the marks of no class. Labels
are two, the channel label a reserved one, so that nobody takes it for a channel's. The destination is a group address
that no bridge forwards (IEEE 802.1Q, table 8-1). In the bytes of a frame the EtherType is MPLS multicast, which no shim
looks at, while the kernel is told MPLS, IPv4 or IPv6: qdiscs and their filters go by what it is told.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Mapping
from itertools import cycle, islice

from pyroute2 import IPRoute

from controller.domain.events import Proof
from controller.network.labels import FIRST_LABEL, TTL_CHANNEL, TTL_STAMPED
from ovs_config.filters import IPV4_DSCP, IPV6_DSCP, TC, class_of, classes_of, has_queues
from ovs_config.plan import BEST_EFFORT_QUEUE, QosPlan, QueuePlan
from ovs_config.waiting import wait_until

FRAMES = 32
"""For each queue."""

ATTEMPTS = 3
"""Best effort that passes meanwhile may hide that the default class did not take the frames."""

COUNT_TIMEOUT_S = 0.5
CHANNEL_LABEL = 15
ETHERTYPE_MPLS_MULTICAST = 0x8848
NEAREST_BRIDGE = bytes.fromhex("0180c200000e")
SOURCE = bytes.fromhex("025254000001")
FRAME_BYTES = 60


def probe_port(ip: IPRoute, interface: str, qos: QosPlan) -> dict[int, Proof]:
    """What is proved of each queue of `qos`, by queue id. Blocks for milliseconds where all is well. Raises OSError."""
    if not has_queues(classes_of(ip, interface), qos):
        return {queue.queue_id: Proof.NOT_SUPPORTED for queue in qos.queues}
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as packets:
        return {queue.queue_id: _proof(ip, packets, interface, queue) for queue in qos.queues}


def frames(queue: QueuePlan) -> Mapping[int, bytes]:
    """One probe frame for each mark of `queue`, by the EtherType that the kernel is told."""
    tc, dscp = queue.queue_id, queue.dscp
    deadline = FIRST_LABEL << 12 | tc << 9 | TTL_STAMPED
    channel = CHANNEL_LABEL << 12 | tc << 9 | 1 << 8 | TTL_CHANNEL
    contents = {
        TC.ethertype: struct.pack("!II", deadline, channel),
        IPV4_DSCP.ethertype: struct.pack("!BB", 4 << 4 | 5, dscp << 2),
        IPV6_DSCP.ethertype: struct.pack("!I", 6 << 28 | dscp << 22),
    }
    head = NEAREST_BRIDGE + SOURCE + struct.pack("!H", ETHERTYPE_MPLS_MULTICAST)
    return {ethertype: (head + content).ljust(FRAME_BYTES, b"\0") for ethertype, content in contents.items()}


def _proof(ip: IPRoute, packets: socket.socket, interface: str, queue: QueuePlan) -> Proof:
    is_proved = any(_takes_frames(ip, packets, interface, queue) for _ in range(ATTEMPTS))
    return Proof.PROVED if is_proved else Proof.NOT_PROVED


def _takes_frames(ip: IPRoute, packets: socket.socket, interface: str, queue: QueuePlan) -> bool:
    """Whether the class of `queue` took what was sent, and the default class, if it is another, did not."""
    before = classes_of(ip, interface)
    for ethertype, frame in islice(cycle(frames(queue).items()), FRAMES):
        packets.sendto(frame, (interface, ethertype))

    def took(queue_id: int) -> bool:
        class_id = class_of(queue_id)
        return classes_of(ip, interface).get(class_id, 0) - before.get(class_id, 0) >= FRAMES

    others = {BEST_EFFORT_QUEUE} - {queue.queue_id}
    wait_until(lambda: any(map(took, {queue.queue_id, *others})), COUNT_TIMEOUT_S)
    return took(queue.queue_id) and not any(map(took, others))
