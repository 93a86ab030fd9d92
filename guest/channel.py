"""`realtime_channel`: a real-time channel for the packets of a socket, for as long as a block runs.

    with realtime_channel(sock, deadline="5ms", rate="2Mbps", on_miss=print) as channel:
        sock.send(frame)

Nothing else changes for the application: Open vSwitch finds the channel's packets by their addresses and ports.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from ipaddress import IPv6Address, ip_address
from types import TracebackType
from typing import Self

from guest import signals
from guest.client import Service, new_nonce
from guest.errors import GuestError, Invalid, NotInstalled
from guest.keeper import CallUp, Keeper
from guest.messages import Answer, Change, Close, IpAddress, Missed, Open, Renew, State
from guest.route import Way, service_way
from guest.session import Session, Standing, state_of
from guest.units import DURATION, LEASE, NS_PER_MS, NS_PER_S, RATE, SIZE

INSTALL_WAIT_S = 10
"""Two switches, and shims, have to confirm a channel; that takes milliseconds, or more than a person waits for."""

READY = (State.INSTALLED, State.DEGRADED)
_POLLS_NS = tuple(ms * NS_PER_MS for ms in (10, 20, 40, 80, 160))
_LAST_POLL_NS = 200 * NS_PER_MS
_PROTOCOLS = {socket.SOCK_DGRAM: socket.IPPROTO_UDP, socket.SOCK_STREAM: socket.IPPROTO_TCP}


def realtime_channel(
    sock: socket.socket,
    deadline: str,
    rate: str,
    *,
    destination: tuple[str, int] | None = None,
    burst: str | None = None,
    packet: str | None = None,
    lease: str = "30s",
    on_miss: Callable[[Missed], object] | None = None,
    signal: int | None = None,
    service: Way | None = None,
) -> Channel:
    """A channel for what `sock`, a UDP or TCP socket, sends to its peer. It is installed; `close` ends it.

    A socket that is not connected yet is connected to `destination`. `on_miss` is called with each call-up, in a thread
    of its own; `signal` is a real-time signal that this process is sent (see `signals`). `burst`: what may be sent at
    once, by default two packets or more; `packet`: the payload, by default what fills one. Raises a GuestError
    that says why there is no channel.
    """
    if signal is not None:
        signals.real_time_signal(signal)
    contract = replace(
        _between_ends_of(sock, destination),
        deadline_ns=DURATION.parse(deadline),
        rate_bps=RATE.parse(rate),
        burst_bytes=SIZE.optional(burst),
        packet_bytes=SIZE.optional(packet),
        lease_s=LEASE.parse(lease),
    )
    signalled = partial(signals.send, os.getpid(), signal) if signal is not None else None
    return Channel(contract, service or service_way(contract.destination), [f for f in (on_miss, signalled) if f])


class Channel:
    """A channel that is open and installed, and is kept so by a thread until `close`. A context manager that closes it.

    What it says of itself is what the controller said last: at each third of the lease, and after `change`. Any thread
    may use it, a call-up's too; `close` waits for a `change` that is under way.
    """

    def __init__(self, contract: Open, way: Way, call_ups: Sequence[CallUp] = ()) -> None:
        """Opens it. Raises a GuestError."""
        self._is_open = True
        self._asking = threading.RLock()  # whoever holds it may use the service; a signal handler may come between
        self._service = Service(way)
        try:
            opened = open_and_wait(self._service, contract)
        except BaseException:
            self._service.close()
            raise
        self._keeper = Keeper(Session(contract, opened, new_nonce, time.monotonic_ns()), way, call_ups)
        self._keeper.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    @property
    def id(self) -> int:
        return self._keeper.standing.channel_id

    @property
    def standing(self) -> Standing:
        """All that the controller last said, together."""
        return self._keeper.standing

    @property
    def state(self) -> State:
        """Its guarantee holds while it is INSTALLED."""
        return self._keeper.standing.state

    @property
    def bound_ns(self) -> int | None:
        """The longest that a packet takes as long as the contract is kept; None where that is not known."""
        return self._keeper.standing.bound_ns or None

    @property
    def deadline_ns(self) -> int:
        return self._keeper.contract.deadline_ns

    @property
    def rate_bps(self) -> int:
        return self._keeper.contract.rate_bps

    @property
    def misses(self) -> int:
        """Packets that came after their deadline since the listener's shim began to count, as the last call-up says."""
        return self._keeper.total_misses

    def change(
        self,
        deadline: str | None = None,
        rate: str | None = None,
        *,
        burst: str | None = None,
        packet: str | None = None,
    ) -> None:
        """Have another contract; what is None stays. Raises a GuestError; then the former one still holds.

        Of a NotInstalled nothing is known: the new contract was accepted.
        """
        sizes = SIZE.optional(burst), SIZE.optional(packet)
        change = Change(self.id, *sizes, DURATION.optional(deadline), RATE.optional(rate))
        with self._asking:
            if not self._is_open:
                raise Invalid("the channel is closed")
            self._keeper.note(change, answer := self._service.ask(change))
            self._keeper.note(change, wait_until_installed(self._service, answer, self._keeper.contract.lease_s))

    def close(self) -> None:
        """There is to be no such channel any more. Where nobody answers, its lease ends it."""
        with self._asking:
            if not self._is_open:
                return
            self._is_open = False
        self._keeper.stop()
        with self._service, suppress(GuestError):
            self._service.ask(Close(self.id))


def open_and_wait(service: Service, contract: Open) -> Answer:
    """Open a channel, and wait until it is installed; where it does not get so, close it. Raises a GuestError."""
    answer = service.ask(contract)
    try:
        return wait_until_installed(service, answer, contract.lease_s)
    except BaseException:
        with suppress(GuestError):
            service.ask(Close(answer.channel_id))
        raise


def wait_until_installed(service: Service, answer: Answer, lease_s: int) -> Answer:
    """The answer that says that the channel is installed, `answer` or a later one. Raises a GuestError.

    Whoever asks for a later one renews the lease: to `lease_s`.
    """
    end_ns = time.monotonic_ns() + INSTALL_WAIT_S * NS_PER_S
    pauses = iter(_POLLS_NS)
    while state_of(answer.state) not in READY:
        if time.monotonic_ns() > end_ns:
            state = state_of(answer.state).name.lower()
            why = f": {answer.reason}" if answer.reason else "; rtvnic show channels says why, at the hypervisor"
            raise NotInstalled(f"the channel is accepted, but still {state} after {INSTALL_WAIT_S} s{why}")
        time.sleep(next(pauses, _LAST_POLL_NS) / NS_PER_S)
        answer = service.ask(Renew(answer.channel_id, lease_s))
    return answer


def _between_ends_of(sock: socket.socket, destination: tuple[str, int] | None) -> Open:
    """The Open, without a contract yet, for what `sock` sends. Raises Invalid."""
    protocol = _PROTOCOLS.get(sock.type)
    if protocol is None or sock.family not in (socket.AF_INET, socket.AF_INET6):
        raise Invalid("a channel is for a UDP or a TCP socket")
    peer = _peer_of(sock, destination)
    source, src_port = sock.getsockname()[:2]
    return Open(_address(peer[0]), _address(source), src_port, peer[1], protocol, 0, 0, 0, 0, 0)


def _peer_of(sock: socket.socket, destination: tuple[str, int] | None) -> tuple[str, int]:
    """Address and port. Raises Invalid."""
    try:
        try:
            host, port = sock.getpeername()[:2]
        except OSError:
            if destination is None:
                raise Invalid("the socket is not connected; connect it, or say destination=(host, port)") from None
            sock.connect(destination)
            host, port = sock.getpeername()[:2]
    except OSError as error:
        raise Invalid(f"cannot connect to {destination}: {error.strerror or error}") from None
    return host, port


def _address(text: str) -> IpAddress:
    """As the packets have it: without a scope, and IPv4 where it is that in the form of IPv6."""
    address = ip_address(text.partition("%")[0])
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address
