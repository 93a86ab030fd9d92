"""Sends requests to the service for guests, faster than it would answer, as a program inside a VM.

`guest_flood.py NIC SOURCE DESTINATION PER_S SECONDS` prints how many it sent: channels to open, one after the other for
another port, ones that admission refuses, renewals, lists, and what is no request.
"""

from __future__ import annotations

import itertools
import json
import secrets
import socket
import sys
import time
from collections.abc import Iterator
from ipaddress import ip_address

from guest.messages import SERVICE_IPV4, SERVICE_PORT, List, Open, Renew, Request, encoded

NS_PER_S = 1_000_000_000
TURN_NS = 1_000_000
UDP, DEADLINE_NS, RATE_BPS, LEASE_S = 17, 20_000_000, 100_000, 60
REFUSED_BURST_BYTES = 50_000
"""More than an uplink of 100 Mb/s sends within its slack of 2 ms."""


def datagrams(source: str, destination: str) -> Iterator[bytes]:
    """Without end; no two have the same nonce."""
    ends = ip_address(destination), ip_address(source)
    for number in itertools.count():
        port = 1 + number % 60_000
        kinds: tuple[Request, ...] = (
            Open(*ends, 0, port, UDP, 0, 0, DEADLINE_NS, RATE_BPS, LEASE_S),
            Open(*ends, 0, port, UDP, REFUSED_BURST_BYTES, 0, DEADLINE_NS, RATE_BPS, LEASE_S),
            Renew(16 + port, LEASE_S),
            List(0),
        )
        yield from (encoded(each, secrets.randbits(64)) for each in kinds)
        yield secrets.token_bytes(40)


def send(sender: socket.socket, content: Iterator[bytes], per_s: int, seconds: float) -> int:
    """As many as `per_s` allows, or as this machine can."""
    begun_ns, sent = time.monotonic_ns(), 0
    service = (str(SERVICE_IPV4), SERVICE_PORT)
    while (passed_ns := time.monotonic_ns() - begun_ns) < seconds * NS_PER_S:
        for datagram in itertools.islice(content, max(0, per_s * (passed_ns + TURN_NS) // NS_PER_S - sent)):
            sender.sendto(datagram, service)
            sent += 1
        time.sleep(max(sent * NS_PER_S // per_s - (time.monotonic_ns() - begun_ns), 0) / NS_PER_S)
    return sent


def main() -> None:
    nic, source, destination, per_s, seconds = sys.argv[1:]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, nic.encode())
        sender.bind((source, 0))
        content = datagrams(source, destination)
        print(json.dumps({"sent": send(sender, content, int(per_s), float(seconds))}))


if __name__ == "__main__":
    main()
