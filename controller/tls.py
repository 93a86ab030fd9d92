"""Mutual TLS: who may connect, as which switch or controller, and a TLS connection that two threads may use.

A certificate tells the datapath ids of its switch as names of the form `dpid:0000000000000001`, and the domain of its
controller as the DNS name `controller-NAME`. What has no certificate of our authority never gets a message to a parser.
`rtvnic pki` makes the files.
"""

from __future__ import annotations

import select
import socket
import ssl
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from controller.errors import CannotRun
from controller.model import TlsFiles

DATAPATH_ID = "dpid:"
CONTROLLER = "controller-"


def server_context(files: TlsFiles) -> ssl.SSLContext:
    """For a controller that asks each switch for a certificate. Raises CannotRun."""
    return _context(ssl.PROTOCOL_TLS_SERVER, files)


def peer_context(files: TlsFiles) -> ssl.SSLContext:
    """For a controller that connects to another, whose `domains` it then looks at. Raises CannotRun."""
    return _context(ssl.PROTOCOL_TLS_CLIENT, files)


def rest_context(files: TlsFiles | None) -> ssl.SSLContext | bool:
    """What httpx calls `verify`: trust in our CA alone, and our own certificate to show. Raises CannotRun."""
    if files is None:
        return True
    return _loaded(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), files)


def require_usable(files: TlsFiles) -> None:
    """Raises CannotRun with the file that is damaged, or not to be read, or the key of another certificate."""
    server_context(files)


def expires_s(files: TlsFiles) -> float:
    """When the certificate of `files` expires, in s since the epoch.

    Raises CannotRun: `require_usable` would, or who trusts their authority refuses the certificate.
    """
    asking, showing = server_context(files), peer_context(files)
    showing.verify_mode = ssl.CERT_NONE
    asked, told = ssl.MemoryBIO(), ssl.MemoryBIO()
    asker, shower = asking.wrap_bio(told, asked, server_side=True), showing.wrap_bio(asked, told)
    try:
        for side in (shower, asker) * 2:
            with suppress(ssl.SSLWantReadError):
                side.do_handshake()
    except ssl.SSLCertVerificationError as error:
        what = f"{files.certificate} is refused by who trusts {files.authority}: {error.verify_message}"
        raise CannotRun(what, "make the files anew: rtvnic pki FILE --renew") from None
    ends = (asker.getpeercert() or {})["notAfter"]
    return ssl.cert_time_to_seconds(str(ends))


def _context(protocol: int, files: TlsFiles) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.check_hostname = False  # a controller is known by its domain, a switch by its datapath id
    return _loaded(context, files)


def _loaded(context: ssl.SSLContext, files: TlsFiles) -> ssl.SSLContext:
    """`context`, which asks for a certificate and trusts our authority alone. Raises CannotRun."""
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_REQUIRED
    for file, use in (
        (files.certificate, lambda: context.load_cert_chain(files.certificate, files.key)),
        (files.authority, lambda: context.load_verify_locations(files.authority)),
    ):
        _load(file, use)
    return context


def _load(file: Path, use: Callable[[], None]) -> None:
    try:
        use()
    except OSError as error:  # an SSLError is one
        raise CannotRun(f"no use of {file} or its key: {error}", "make the files with: rtvnic pki FILE") from error


def datapath_name(datapath_id: int) -> str:
    """How a certificate says that its holder may have that datapath id."""
    return f"{DATAPATH_ID}{datapath_id:016x}"


def datapath_ids(certificate: dict[str, Any]) -> frozenset[int]:
    """The switches that the holder of `certificate`, as `ssl` tells it, may be."""
    names = [value for kind, value in certificate.get("subjectAltName", ()) if kind == "URI"]
    return frozenset(int(name.removeprefix(DATAPATH_ID), 16) for name in names if name.startswith(DATAPATH_ID))


def domains(certificate: dict[str, Any]) -> frozenset[str]:
    """The domains whose controller the holder of `certificate`, as `ssl` tells it, may be."""
    names = [value for kind, value in certificate.get("subjectAltName", ()) if kind == "DNS"]
    return frozenset(name.removeprefix(CONTROLLER) for name in names if name.startswith(CONTROLLER))


class SharedTls:
    """A TLS connection for one thread that receives and one that sends: OpenSSL allows only one of them at a time.

    Nobody waits inside OpenSSL: who finds nothing to read or no room to write waits outside, without the lock.
    """

    def __init__(self, connection: socket.socket, context: ssl.SSLContext) -> None:
        """`connection` stays the caller's to close. Raises OSError."""
        self._connection = connection
        self._lock = threading.Lock()
        self._timeout_s: float | None = None
        self._tls = context.wrap_socket(connection.dup(), server_side=True, do_handshake_on_connect=False)

    def shake_hands(self, most_s: float) -> frozenset[int]:
        """The datapath ids that the other side may have. Raises OSError, of which SSLError is one."""
        self._tls.settimeout(max(most_s, 0.001))
        self._tls.do_handshake()
        self._tls.setblocking(False)
        return datapath_ids(self._tls.getpeercert() or {})

    def recv(self, size: int, /) -> bytes:
        received: bytes = self._when_possible(partial(self._tls.recv, size))
        return received

    def sendall(self, data: bytes, /) -> None:
        rest = memoryview(data)
        while rest:
            sent: int = self._when_possible(partial(self._tls.send, rest))
            rest = rest[sent:]

    def settimeout(self, seconds: float | None, /) -> None:
        self._timeout_s = seconds

    def setsockopt(self, *option: int) -> None:
        self._tls.setsockopt(*option)

    def shutdown(self, how: int, /) -> None:
        self._connection.shutdown(how)  # after SSLSocket's own it would go on in plain text

    def close(self) -> None:
        self._tls.close()

    def _when_possible(self, action: Callable[[], Any]) -> Any:
        """What `action` gives as soon as the connection is ready for it. Raises TimeoutError, OSError."""
        end_s = None if self._timeout_s is None else time.monotonic() + self._timeout_s
        while True:
            try:
                with self._lock:
                    return action()
            except ssl.SSLWantReadError:
                self._wait(select.POLLIN, end_s)
            except ssl.SSLWantWriteError:
                self._wait(select.POLLOUT, end_s)

    def _wait(self, event: int, end_s: float | None) -> None:
        poll = select.poll()
        poll.register(self._tls, event)
        left_s = None if end_s is None else max(end_s - time.monotonic(), 0)
        if not poll.poll(None if left_s is None else left_s * 1000):
            raise TimeoutError
