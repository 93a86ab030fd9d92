"""What goes over an interface, as tcpdump saw it. Needs root."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Packet
from scapy.utils import PcapReader
from support.waiting import PATIENCE_S


@dataclass
class Capture:
    """The frames seen so far; complete once the with block of `capture` has ended."""

    frames: list[bytes] = field(default_factory=list)


@contextmanager
def capture(interface: str, what: str, count: int, directory: Path, under: Sequence[str] = ()) -> Iterator[Capture]:
    """`count` frames of tcpdump filter `what` on `interface`, run by the command `under`. Raises TimeoutError."""
    file = directory / f"{interface}.pcap"
    words = [*under, "tcpdump", "-i", interface, "-w", str(file), "-U", "--immediate-mode", "-c", str(count), what]
    process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        while "listening on" not in (line := process.stderr.readline()):
            assert line, f"tcpdump did not start on {interface}"
        seen = Capture()
        yield seen
        _await(process, interface)
        with PcapReader(str(file)) as reader:
            seen.frames += [bytes(packet) for packet in reader]
    finally:
        process.kill()
        process.communicate()


def has_right_checksums(frame: bytes) -> bool:
    """Whether the IPv4, UDP, TCP and ICMP checksums of a frame without labels are what scapy makes them."""
    packet = Ether(frame)
    return bytes(_without_checksums(packet)) == bytes(packet)


def _without_checksums(packet: Packet) -> Packet:
    fresh = Ether(bytes(packet))
    assert IP in fresh or IPv6 in fresh
    for layer in (IP, UDP, TCP, ICMP):
        if layer in fresh:
            del fresh[layer].chksum
    return fresh


def _await(process: subprocess.Popen[str], interface: str) -> None:
    end_s = time.monotonic() + PATIENCE_S
    while process.poll() is None:
        if time.monotonic() > end_s:
            raise TimeoutError(f"tcpdump did not see all frames on {interface}")
        time.sleep(0.01)
