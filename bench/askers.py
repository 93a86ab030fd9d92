"""Sockets in VMs of a test bed, that ask their hypervisor's controller as a guest does from inside."""

from __future__ import annotations

import secrets
import socket
import time
from ipaddress import IPv4Address
from typing import TYPE_CHECKING, TypeVar

from bench.network import inside
from controller.model import Vm
from guest.messages import (
    DATAGRAM_MAX,
    SERVICE_IPV4,
    SERVICE_PORT,
    Answer,
    Listed,
    Missed,
    Open,
    Renew,
    Reply,
    Request,
    State,
    Status,
    decoded_reply,
    encoded,
)

if TYPE_CHECKING:
    from topologies.testbed import Testbed

REPEAT_S = 0.1
"""After so long without an answer the same is asked again."""

PATIENCE_S = 5.0
UDP = 17
Kind = TypeVar("Kind", Answer, Listed, Missed)


class AskingVm:
    """A socket in the VM `vm`. It has no route to the service: its NIC is where it asks."""

    def __init__(self, testbed: Testbed, vm: str) -> None:
        from topologies.cables import nic_of

        self.vm: Vm = testbed.network.vms[vm]
        with inside(testbed.pid(vm)):
            self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, nic_of(self.vm).encode())
        self.socket.bind((str(self.address), 0))

    def __enter__(self) -> AskingVm:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    @property
    def address(self) -> IPv4Address:
        return next(each.ip for each in self.vm.addresses if isinstance(each.ip, IPv4Address))

    def send(self, request: Request, nonce: int) -> None:
        self.socket.sendto(encoded(request, nonce), (str(SERVICE_IPV4), SERVICE_PORT))

    def heard(self, timeout_s: float) -> tuple[Reply, int] | None:
        """What the service says next, and the nonce of the request that it follows from; None: nothing, for so long."""
        self.socket.settimeout(timeout_s)
        try:
            return decoded_reply(self.socket.recv(DATAGRAM_MAX))
        except TimeoutError:
            return None

    def ask(self, request: Request) -> Answer | Listed:
        """The answer to `request`, which is repeated until there is one. Raises TimeoutError."""
        nonce, end_s = secrets.randbits(64), time.monotonic() + PATIENCE_S
        while time.monotonic() < end_s:
            self.send(request, nonce)
            found = self.heard(REPEAT_S)
            while found is not None:
                if found[1] == nonce and not isinstance(found[0], Missed):
                    return found[0]
                found = self.heard(REPEAT_S)
        raise TimeoutError(f"the service does not answer {self.vm.name}")

    def answer(self, request: Request) -> Answer:
        """As `ask`, of what has an Answer."""
        found = self.ask(request)
        assert isinstance(found, Answer)
        return found

    def opening(self, listener: Vm, deadline_ns: int, rate_bps: int, dst_port: int = 0, lease_s: int = 60) -> Open:
        """A request for a channel to `listener`, for UDP to a port if one is given."""
        destination = next(each.ip for each in listener.addresses if each.version == 4)
        protocol = UDP if dst_port else 0
        return Open(destination, self.address, 0, dst_port, protocol, 0, 0, deadline_ns, rate_bps, lease_s)

    def await_installed(self, request: Open, pause_s: float = 0.01) -> Answer:
        """Open a channel, and return when it is installed. Raises TimeoutError."""
        found, end_s = self.answer(request), time.monotonic() + PATIENCE_S
        while found.status == Status.DONE and found.state != State.INSTALLED:
            if time.monotonic() > end_s:
                raise TimeoutError(f"the channel is {State(found.state).name} still")
            time.sleep(pause_s)
            found = self.answer(Renew(found.channel_id, request.lease_s))
        return found
