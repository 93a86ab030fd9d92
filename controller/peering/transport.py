"""The connections to other controllers: one to each with which channels are shared.

The domain whose name sorts first connects, the other listens. With TLS each must show the certificate of the domain
that it claims. One thread owns all connections; any thread may call `follow`, `tell_ends`, `tell_clock` and `report`,
which leave word for it and return at once. What it hears becomes events.
"""

from __future__ import annotations

import errno
import logging
import os
import queue
import random
import selectors
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from controller import tls
from controller.clocks.clock import Clock
from controller.domain.events import (
    Event,
    MissesReported,
    PeerClockReported,
    PeerGone,
    PeeringReported,
    PeerJoined,
    PeerReported,
    StrangersReported,
)
from controller.domain.reports import EndReport
from controller.model import Network
from controller.peering.messages import ClockState, FrameError, Hello, Message, MissReport, all_ends, changed_ends
from controller.peering.session import (
    BackOff,
    Heard,
    HeardClock,
    HeardEnds,
    HeardMisses,
    Joined,
    Link,
    Outbox,
    Phase,
    Session,
)
from controller.units import NS_PER_S

LOG = logging.getLogger(__name__)
TURN_NS = NS_PER_S // 10
REPORT_NS = NS_PER_S
RECEIVE_BYTES = 1 << 16
READS_PER_TURN = 16
STRANGERS_MAX = 256
"""Of those that have not said yet whose they are; the oldest gives way."""

TOGETHER_MAX = 32
RETRY_NS = NS_PER_S
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class _Connection:
    """A socket that never blocks, plain or TLS, and the session over it. `domain` is empty until that is known."""

    def __init__(self, plain: socket.socket, context: ssl.SSLContext | None, is_server: bool, domain: str) -> None:
        plain.setblocking(False)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.domain = domain
        self.session: Session
        self.has_more = False
        self.is_connected = is_server
        self._plain, self._context, self._is_server = plain, context, is_server
        self._socket: socket.socket | None = None
        self._is_greeted = context is None
        self._unsent = b""
        self._error: OSError | None = None

    def fileno(self) -> int:
        return (self._socket or self._plain).fileno()

    @property
    def wants_to_write(self) -> bool:
        return not self.is_connected or bool(self._unsent)

    def names(self) -> frozenset[str] | None:
        """The domains of the other side's certificate; None without TLS."""
        return tls.domains(self._socket.getpeercert() or {}) if isinstance(self._socket, ssl.SSLSocket) else None

    def receive(self, now_ns: int) -> list[Heard]:
        """What has come. Raises OSError, also when the other side has ended it: where something came, the next time."""
        heard: list[Heard] = []
        if not self._is_ready():
            return heard
        for _ in range(READS_PER_TURN):
            try:
                data = self._read()
            except OSError as error:
                if not heard:
                    raise
                self._error = error
                return heard
            if not data:
                self.has_more = False
                return heard
            heard += self.session.receive(data, now_ns)
        self.has_more = True
        return heard

    def _read(self) -> bytes:
        """What comes next; empty when there is nothing now. Raises OSError."""
        assert self._socket is not None
        try:
            data = self._socket.recv(RECEIVE_BYTES)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return b""
        if not data:
            raise ConnectionResetError
        return data

    def send(self) -> None:
        """What there is to say, as much as the other side takes. Raises OSError."""
        if not self._is_ready():
            return
        assert self._socket is not None
        try:
            while self._unsent or (frame := self.session.bytes_to_send()):
                self._unsent = self._unsent or frame
                self._unsent = self._unsent[self._socket.send(self._unsent) :]
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return

    def close(self) -> None:
        (self._socket or self._plain).close()

    def _is_ready(self) -> bool:
        """Whether it is connected and, with TLS, each knows the other. Raises OSError."""
        if self._error is not None:
            raise self._error
        if self._socket is None:
            self._open()
        if self._socket is not None and isinstance(self._socket, ssl.SSLSocket) and not self._is_greeted:
            try:
                self._socket.do_handshake()
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                return False
            self._is_greeted = True
        return self._socket is not None

    def _open(self) -> None:
        if not self.is_connected:
            error = self._plain.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if error:
                raise OSError(error, os.strerror(error))
            try:
                self._plain.getpeername()
            except OSError:
                return
            self.is_connected = True
        if self._context is None:
            self._socket = self._plain
        else:
            self._socket = self._context.wrap_socket(
                self._plain, server_side=self._is_server, do_handshake_on_connect=False
            )


@dataclass
class _Peer:
    """Another controller that is followed. `sent` and `received` are those of connections that have ended."""

    outbox: Outbox = field(default_factory=Outbox)
    back_off: BackOff = field(default_factory=lambda: BackOff(random.Random().random))
    connection: _Connection | None = None
    next_try_ns: int = 0
    sent: int = 0
    received: int = 0
    refused: int = 0
    sessions: int = 0

    def link(self) -> Link:
        session = self.connection.session if self.connection else None
        return Link(
            phase=session.phase if session else Phase.CLOSED,
            sent=self.sent + (session.sent if session else 0),
            received=self.received + (session.received if session else 0),
            dropped=self.outbox.dropped,
            refused=self.refused,
            reconnects=max(self.sessions - 1, 0),
            round_trip_ns=session.round_trip_ns if session else None,
        )


class Peering:
    """The peers of the controller of the domain `name`; those that connect come to `listener`. Raises CannotRun."""

    def __init__(
        self, network: Network, name: str, listener: socket.socket | None, post: Callable[[Event], None]
    ) -> None:
        files = network.controller_tls(name)
        self._endpoints = {domain: each.controller for domain, each in network.hypervisors.items()}
        self._name = name
        self._post = post
        self._listener = listener
        self._contexts = (tls.peer_context(files), tls.server_context(files)) if files else (None, None)
        self._host = BOOT_ID.read_text().strip()
        self._peers: dict[str, _Peer] = {}
        self._connections: dict[_Connection, None] = {}
        self._next_accept_ns = 0
        self._strangers = self._strangers_told = 0
        self._orders: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._word = os.eventfd(0, os.EFD_NONBLOCK)
        self._is_stopping = False
        self._next_report_ns = 0
        self._thread = threading.Thread(target=self._run, name="peering", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End all conversations, listen no more, and return when that is done."""
        self._order(self._end)
        self._thread.join()

    def follow(self, domains: Iterable[str]) -> None:
        """Talk with the controllers of `domains` from now on, and with no others."""
        wanted = set(domains)
        self._order(lambda: self._follow(wanted))

    def tell_ends(self, domain: str, ends: Mapping[str, EndReport], is_all: bool) -> None:
        """Tell the controller of `domain` how ends stand, if it listens: all of them, or those that have changed."""
        self._order(lambda: self._tell_ends(domain, ends, is_all))

    def tell_clock(self, domain: str, clock: Clock) -> None:
        """Tell the controller of `domain` how this machine's clock is, if it listens."""
        self._order(lambda: self._tell_clock(domain, clock))

    def report(self, domain: str, reports: tuple[MissReport, ...]) -> None:
        """Tell the controller of `domain` of misses, as soon as it listens."""
        self._order(lambda: self._report(domain, reports))

    def _order(self, order: Callable[[], None]) -> None:
        self._orders.put(order)
        os.eventfd_write(self._word, 1)

    # In its own thread

    def _run(self) -> None:
        while not self._is_stopping:
            try:
                self._wait()
                self._turn(time.monotonic_ns())
            except Exception:
                LOG.exception("the peering stumbled and goes on")
                time.sleep(TURN_NS / NS_PER_S)

    def _wait(self) -> None:
        """For word, for something to read, room to write, or until the next turn is due."""
        with selectors.PollSelector() as selector:  # it takes no descriptor, of which none may be left
            selector.register(self._word, selectors.EVENT_READ)
            if self._listener is not None and time.monotonic_ns() >= self._next_accept_ns:
                selector.register(self._listener, selectors.EVENT_READ)
            for each in self._connections:
                selector.register(each, selectors.EVENT_READ | (selectors.EVENT_WRITE if each.wants_to_write else 0))
            is_more = any(each.has_more for each in self._connections)
            selector.select(0 if is_more else TURN_NS / NS_PER_S)

    def _turn(self, now_ns: int) -> None:
        self._accept(now_ns)
        for connection in list(self._connections):
            self._advance(connection, now_ns, self._receive)
        self._take_orders()
        for domain, peer in self._peers.items():
            if peer.connection is None and self._name < domain and now_ns >= peer.next_try_ns:
                self._connect(domain, peer, now_ns)
        for connection in list(self._connections):
            self._advance(connection, now_ns, self._send)
        if now_ns >= self._next_report_ns:
            self._next_report_ns = now_ns + REPORT_NS
            self._report_state()

    def _report_state(self) -> None:
        for domain in self._peers:
            self._tell_link(domain)
        if self._strangers != self._strangers_told:
            self._strangers_told = self._strangers
            self._post(StrangersReported(self._strangers))

    def _take_orders(self) -> None:
        try:
            os.eventfd_read(self._word)
        except BlockingIOError:
            return
        while not self._orders.empty():
            self._orders.get()()

    def _advance(self, connection: _Connection, now_ns: int, action: Callable[[_Connection, int], None]) -> None:
        if connection not in self._connections:  # another took its place in this turn
            return
        try:
            action(connection, now_ns)
        except OSError as error:
            is_refused = isinstance(error, ssl.SSLCertVerificationError)
            connection.session.fail(_reason(error))
            connection.session.is_refused |= is_refused
        if connection.session.phase is Phase.CLOSED:
            self._lose(connection, now_ns)

    def _receive(self, connection: _Connection, now_ns: int) -> None:
        for heard in connection.receive(now_ns):
            self._pass_on(connection, heard)

    def _send(self, connection: _Connection, now_ns: int) -> None:
        connection.session.tick(now_ns)
        connection.send()

    def _pass_on(self, connection: _Connection, heard: Heard) -> None:
        match heard:
            case Joined(domain, host):
                self._join(connection, domain)
                self._post(PeerJoined(domain, host == self._host))
            case HeardEnds(ends):
                self._post(PeerReported(connection.domain, ends))
            case HeardMisses(reports):
                self._post(MissesReported(connection.domain, reports))
            case HeardClock(clock):
                self._post(PeerClockReported(connection.domain, clock))

    def _join(self, connection: _Connection, domain: str) -> None:
        """`connection` is the one to `domain` from now on: an older one is dead and does not know it yet."""
        peer = self._peers[domain]
        if peer.connection not in (None, connection):
            assert peer.connection is not None
            self._forget(peer, peer.connection)
        connection.domain, peer.connection = domain, connection
        peer.sessions += 1
        peer.outbox.forget_ends()
        peer.back_off.reset()
        self._tell_link(domain)

    def _outbox_for(self, connection: _Connection, domain: str) -> Outbox:
        """Of the controller of `domain`, if the other side may be that. Raises FrameError."""
        names = connection.names()
        if connection.domain and domain != connection.domain:
            raise FrameError(f"is that of another domain, {domain}")
        if names is not None and domain not in names:
            raise FrameError("has the certificate of another")
        if domain not in self._peers or (not connection.domain and domain > self._name):
            raise FrameError(f"calls itself {domain}, which shares no channel with {self._name}")
        return self._peers[domain].outbox

    def _accept(self, now_ns: int) -> None:
        if self._listener is None or now_ns < self._next_accept_ns:
            return
        self._listener.setblocking(False)
        try:
            for _ in range(TOGETHER_MAX):
                self._let_in(self._listener.accept()[0], now_ns)
        except BlockingIOError:
            pass  # that were all
        except OSError as error:
            LOG.warning("a connection of another controller could not be taken: %s", error)
            self._next_accept_ns = now_ns + RETRY_NS

    def _let_in(self, plain: socket.socket, now_ns: int) -> None:
        strangers = [each for each in self._connections if not each.domain]
        if len(strangers) >= STRANGERS_MAX:
            strangers[0].session.fail("gives way: too many have not introduced themselves")
            self._lose(strangers[0], now_ns)
        self._open(_Connection(plain, self._contexts[1], is_server=True, domain=""), now_ns)

    def _connect(self, domain: str, peer: _Peer, now_ns: int) -> None:
        endpoint = self._endpoints[domain]
        try:
            plain = socket.socket(socket.AF_INET6 if ":" in endpoint.address else socket.AF_INET)
        except OSError as error:
            self._put_off(domain, peer, _reason(error), now_ns)
            return
        peer.connection = _Connection(plain, self._contexts[0], is_server=False, domain=domain)
        self._open(peer.connection, now_ns)
        if (code := plain.connect_ex((endpoint.address, endpoint.peering_port))) not in (0, errno.EINPROGRESS):
            peer.connection.session.fail(_reason(OSError(code, os.strerror(code))))
            self._lose(peer.connection, now_ns)

    def _open(self, connection: _Connection, now_ns: int) -> None:
        hello = Hello(self._name, int.from_bytes(os.urandom(8)), self._host)
        connection.session = Session(hello, lambda domain: self._outbox_for(connection, domain), now_ns)
        self._connections[connection] = None

    def _lose(self, connection: _Connection, now_ns: int) -> None:
        """It has ended."""
        session, peer = connection.session, self._peers.get(connection.domain)
        if peer is None or peer.connection is not connection:
            LOG.warning("who connected as another controller %s", session.why)
            self._strangers += 1
            self._drop(connection)
            return
        peer.refused += session.is_refused
        self._forget(peer, connection)
        self._put_off(connection.domain, peer, session.why, now_ns)

    def _put_off(self, domain: str, peer: _Peer, why: str, now_ns: int) -> None:
        """Say why there is no connection, and try again after a while."""
        peer.next_try_ns = now_ns + peer.back_off.pause_ns()
        self._post(PeerGone(domain, why))
        self._tell_link(domain)

    def _forget(self, peer: _Peer, connection: _Connection) -> None:
        peer.sent += connection.session.sent
        peer.received += connection.session.received
        peer.connection = None
        self._drop(connection)

    def _drop(self, connection: _Connection) -> None:
        self._connections.pop(connection, None)
        connection.close()

    def _follow(self, wanted: set[str]) -> None:
        for domain in self._peers.keys() - wanted:
            peer = self._peers.pop(domain)
            if peer.connection is not None:
                self._drop(peer.connection)
        for domain in wanted - self._peers.keys():
            self._peers[domain] = _Peer()

    def _tell_ends(self, domain: str, ends: Mapping[str, EndReport], is_all: bool) -> None:
        for message in all_ends(ends) if is_all else changed_ends(ends):
            self._tell(domain, message)

    def _tell_clock(self, domain: str, clock: Clock) -> None:
        self._tell(domain, ClockState(clock))

    def _tell(self, domain: str, message: Message) -> None:
        """If it listens: what is told again once a second need not wait for who does not."""
        peer = self._peers.get(domain)
        if peer is not None and peer.connection is not None and peer.connection.session.phase is Phase.OPEN:
            peer.outbox.put(message)

    def _report(self, domain: str, reports: tuple[MissReport, ...]) -> None:
        if domain in self._peers:
            self._peers[domain].outbox.put_reports(reports)

    def _tell_link(self, domain: str) -> None:
        self._post(PeeringReported(domain, self._peers[domain].link()))

    def _end(self) -> None:
        self._is_stopping = True
        for connection in list(self._connections):
            self._drop(connection)
        if self._listener is not None:
            self._listener.close()


def _reason(error: OSError) -> str:
    """Completes "the controller of NAME"."""
    match error:
        case ssl.SSLCertVerificationError():
            return f"shows a certificate that is not trusted: {error.verify_message}"
        case ssl.SSLError():
            return f"does not agree on TLS: {error.reason}"
        case ConnectionRefusedError():
            return "is not running"
        case ConnectionResetError() | BrokenPipeError():
            return "has ended the conversation"
        case _:
            return f"is not reachable: {error.strerror or error}"
