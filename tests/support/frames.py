"""Ethernet frames as bytes: with a channel's label stack, or without any."""

from __future__ import annotations

import struct

ADDRESSES = bytes.fromhex("020000000002020000000001")
ETHERTYPE_MPLS = 0x8847
ETHERTYPE_IP = 0x0800
ETHERTYPE_ARP = 0x0806
LEAST_BYTES = 60


def frame(ethertype: int, content: bytes = b"", length: int = LEAST_BYTES) -> bytes:
    """A frame of `length` bytes, or of as many as its content needs."""
    return (ADDRESSES + struct.pack("!H", ethertype) + content).ljust(length, b"\0")


def label_entry(label: int, tc: int = 5, is_bottom: bool = False, ttl: int = 64) -> bytes:
    return struct.pack("!I", label << 12 | tc << 9 | is_bottom << 8 | ttl)


def labelled(deadline_label: int, channel: int, tc: int = 5, ttl: int = 255, length: int = LEAST_BYTES) -> bytes:
    """A frame as OVS hands it to the shim (TTL 255), or as a shim has stamped it (TTL 254)."""
    stack = label_entry(deadline_label, tc, ttl=ttl) + label_entry(channel, tc, is_bottom=True)
    return frame(ETHERTYPE_MPLS, stack, length)


def deadline_label_of(data: bytes) -> int:
    return int.from_bytes(data[14:18], "big") >> 12


def channel_of(data: bytes) -> int:
    return int.from_bytes(data[18:22], "big") >> 12


def ttl_of(data: bytes) -> int:
    return data[17]
