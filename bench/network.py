"""A network of one's own for an experiment: nobody else's packets, and nothing of it stays behind."""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Iterator
from pathlib import Path

from pyroute2 import IPRoute

from controller.errors import CannotRun

CLONE_NEWNET = 0x40000000
INTERFACES = Path("/proc/thread-self/net/dev")
NO_IPV6 = Path("/proc/sys/net/ipv6/conf/default/disable_ipv6")


@contextlib.contextmanager
def private_network() -> Iterator[IPRoute]:
    """Moves the calling thread, and those that it starts, into a new network namespace; yields a way to fill it.

    The kernel removes the namespace when the last of them has left or ended, however that came about.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        if libc.unshare(CLONE_NEWNET):
            raise CannotRun(f"cannot make a network namespace: {os.strerror(ctypes.get_errno())}", "run as root")
        if NO_IPV6.exists():
            NO_IPV6.write_text("1")
        with IPRoute() as links:
            yield links
    finally:
        libc.setns(home, CLONE_NEWNET)
        os.close(home)


def add_veth(links: IPRoute, first: str, second: str) -> None:
    """A veth pair that is up."""
    links.link("add", ifname=first, kind="veth", peer={"ifname": second})
    for name in (first, second):
        links.link("set", index=links.link_lookup(ifname=name)[0], state="up")


def received_packets(name: str) -> int:
    """How many packets an interface of the calling thread's network has received. Quick, unlike netlink."""
    for line in INTERFACES.read_text().splitlines():
        interface, _, counters = line.partition(":")
        if interface.strip() == name:
            return int(counters.split()[1])
    raise KeyError(name)


@contextlib.contextmanager
def inside(pid: int) -> Iterator[None]:
    """Has the calling thread in the network namespace of the process `pid`: a socket that it makes stays there."""
    libc = ctypes.CDLL(None, use_errno=True)
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    away = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        if libc.setns(away, CLONE_NEWNET):
            raise CannotRun(f"cannot enter a network namespace: {os.strerror(ctypes.get_errno())}", "run as root")
        yield
    finally:
        libc.setns(home, CLONE_NEWNET)
        os.close(home)
        os.close(away)
