"""Sends stamped frames that are late already onto an interface, as a program: what a shim then has to tell of.

`forged_misses.py INTERFACE SOURCE_MAC DESTINATION_MAC LABEL TC PER_S SECONDS` prints how many it sent.
"""

from __future__ import annotations

import socket
import struct
import sys
import time

from controller.network.labels import absolute_deadline_label
from controller.units import NS_PER_MS, NS_PER_S

LATE_NS = 20 * NS_PER_MS
TURN_NS = NS_PER_MS
SOL_PACKET, PACKET_QDISC_BYPASS = 263, 20
ETHERTYPE_MPLS = 0x8847
LEAST_BYTES = 60


def frame(addresses: bytes, label: int, tc: int, deadline_ns: int) -> bytes:
    """On the channel of `label`, with the absolute deadline."""
    entry = absolute_deadline_label(deadline_ns) << 12 | tc << 9 | 254
    stack = struct.pack("!HII", ETHERTYPE_MPLS, entry, label << 12 | tc << 9 | 1 << 8 | 64)
    return (addresses + stack).ljust(LEAST_BYTES, b"\0")


def send(wire: socket.socket, addresses: bytes, label: int, tc: int, per_s: int, seconds: float) -> int:
    """As many as `per_s` allows, or as this machine can; each TURN_NS of them with one deadline."""
    begun_ns, sent = time.monotonic_ns(), 0
    while (passed_ns := time.monotonic_ns() - begun_ns) < seconds * NS_PER_S:
        data = frame(addresses, label, tc, time.time_ns() - LATE_NS)
        due = min(per_s * (passed_ns + TURN_NS) // NS_PER_S - sent, per_s * TURN_NS // NS_PER_S * 4)
        for _ in range(due):
            wire.send(data)
        sent += max(due, 0)
        time.sleep(max(sent * NS_PER_S // per_s - (time.monotonic_ns() - begun_ns), 0) / NS_PER_S)
    return sent


def main() -> None:
    interface, source, destination, *numbers = sys.argv[1:]
    addresses = bytes.fromhex((destination + source).replace(":", ""))
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as wire:
        wire.setsockopt(SOL_PACKET, PACKET_QDISC_BYPASS, 1)
        wire.bind((interface, 0))
        label, tc, per_s, seconds = map(int, numbers)
        print(send(wire, addresses, label, tc, per_s, seconds))


if __name__ == "__main__":
    main()
