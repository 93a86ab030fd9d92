"""OpenFlow with TLS, on real sockets: who is let in, as which switch, and that the live switch notices nothing.

Runs in a process of its own: os-ken's registry of apps is global.
"""

from __future__ import annotations

import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from support.openflow_switch import PATIENCE_S, OpenFlowSwitch, Type

from bench.openflow_frames import GENUINE, message
from controller.errors import CannotRun
from controller.model import TlsFiles
from controller.tls import SharedTls, datapath_name, expires_s, rest_context, server_context
from rtvnic import authority
from rtvnic.authority import Authority, Holder, Use

LEFT, RIGHT = 1, 2
SERVER = Path(__file__).parents[2] / "support" / "tls_server.py"


def issue(directory: Path, name: str, datapath_id: int, use: Use = Use.CLIENT) -> None:
    Authority(directory).issue(Holder(name, use, (datapath_name(datapath_id),)), 1, renews=False)


def client(directory: Path, name: str = "") -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(TlsFiles.of(directory, "ca").authority)
    if name:
        files = TlsFiles.of(directory, name)
        context.load_cert_chain(files.certificate, files.key)
    return context


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("pki")
    issue(directory, "controller", 0, Use.BOTH)
    issue(directory, "left", LEFT)
    issue(directory, "right", RIGHT)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(authority, "datetime", LongAgo)
        Authority(directory).issue(Holder("expired", Use.CLIENT, (datapath_name(LEFT),)), 1, renews=False)
    return directory


class LongAgo(datetime):
    @classmethod
    def now(cls, tz: object = None) -> datetime:  # type: ignore[override]
        return datetime.now(UTC) - timedelta(days=7)


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory, pki: Path) -> Path:
    """Certificates of another authority, whose holders trust ours."""
    directory = tmp_path_factory.mktemp("foreign")
    issue(directory, "left", LEFT)
    directory.joinpath("ca-cert.pem").write_bytes(pki.joinpath("ca-cert.pem").read_bytes())
    return directory


class Server:
    """`tests/support/tls_server.py`: prints its port, then each event."""

    def __init__(self, pki: Path) -> None:
        words = [sys.executable, str(SERVER), str(pki)]
        self._process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
        self.port = int(self.next())

    def next(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def stop(self) -> None:
        self._process.kill()
        self._process.communicate()


@pytest.fixture(scope="module")
def server(pki: Path) -> Iterator[Server]:
    made = Server(pki)
    yield made
    made.stop()


def is_refused(port: int, context: ssl.SSLContext | None, datapath_id: int) -> bool:
    """Whether the controller hangs up on such a switch, which answers all that it is asked."""
    try:
        switch = OpenFlowSwitch(port, datapath_id, context=context)
    except OSError:
        return True
    with switch:
        switch._thread.join(PATIENCE_S)
        return not switch._thread.is_alive()


def answers(switch: OpenFlowSwitch) -> bool:
    switch.send(Type.ECHO_REQUEST, 99)
    while switch.received.get(timeout=PATIENCE_S) != Type.ECHO_REPLY:
        pass
    return True


def test_a_switch_with_a_certificate_is_served(server: Server, pki: Path) -> None:
    with OpenFlowSwitch(server.port, LEFT, context=client(pki, "left")):
        assert server.next() == "SwitchConnected left"
    assert server.next() == "SwitchGone left"


def test_others_are_refused_and_the_live_switch_goes_on(server: Server, pki: Path, foreign: Path) -> None:
    with OpenFlowSwitch(server.port, LEFT, context=client(pki, "left")) as live:
        assert server.next() == "SwitchConnected left"
        strangers = {
            "plain text": None,
            "no certificate": client(pki),
            "another authority": client(foreign, "left"),
            "expired": client(pki, "expired"),
            "another datapath id": client(pki, "right"),
        }
        for what, context in strangers.items():
            assert is_refused(server.port, context, LEFT), what
            assert answers(live), what
    assert server.next() == "SwitchGone left"


def test_tls_1_1_is_refused(server: Server, pki: Path) -> None:
    context = client(pki, "left")
    with pytest.warns(DeprecationWarning):
        context.minimum_version = ssl.TLSVersion.TLSv1_1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    assert is_refused(server.port, context, LEFT)


def test_a_switch_is_no_controller(pki: Path) -> None:
    """So that no switch can pose as the controller of another."""
    one, other = socket.socketpair()
    with one, other:
        context = client(pki)
        side = context.wrap_bio(incoming := ssl.MemoryBIO(), outgoing := ssl.MemoryBIO())
        server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        files = TlsFiles.of(pki, "left")
        server_side.load_cert_chain(files.certificate, files.key)
        posing = server_side.wrap_bio(there := ssl.MemoryBIO(), back := ssl.MemoryBIO(), server_side=True)
        with pytest.raises(ssl.SSLCertVerificationError, match="purpose"):
            for _ in range(4):
                for each, source, sink in ((side, outgoing, there), (posing, back, incoming)):
                    with suppress(ssl.SSLWantReadError):
                        each.do_handshake()
                    sink.write(source.read())


def test_files_that_are_not_there_are_named(tmp_path: Path) -> None:
    with pytest.raises(CannotRun, match=r"no use of .*controller-left-cert\.pem.*rtvnic pki"):
        server_context(TlsFiles.of(tmp_path, "controller-left"))


@pytest.mark.parametrize("part", ["cert", "key", "authority"])
def test_a_damaged_file_is_one_message_for_rest_too(pki: Path, tmp_path: Path, part: str) -> None:
    files = TlsFiles.of(pki, "controller")
    whole = {"cert": files.certificate, "key": files.key, "authority": files.authority}
    damaged = tmp_path / "damaged.pem"
    damaged.write_bytes(whole[part].read_bytes()[:100])
    used = {**whole, part: damaged}
    with pytest.raises(CannotRun, match=r"no use of .* or its key: .*; make the files with: rtvnic pki"):
        rest_context(TlsFiles(used["authority"], used["cert"], used["key"]))


@pytest.mark.parametrize("name", ["controller", "left"])
def test_a_certificate_that_others_accept_has_a_day_on_which_it_ends(pki: Path, name: str) -> None:
    certificate = x509.load_pem_x509_certificate((pki / f"{name}-cert.pem").read_bytes())
    assert expires_s(TlsFiles.of(pki, name)) == certificate.not_valid_after_utc.timestamp()


def test_a_certificate_that_others_refuse_is_named_with_the_reason(pki: Path, foreign: Path) -> None:
    with pytest.raises(CannotRun, match=r"expired-cert.pem is refused .*: certificate has expired; .*--renew"):
        expires_s(TlsFiles.of(pki, "expired"))
    with pytest.raises(CannotRun, match=r"left-cert.pem is refused by who trusts .*ca-cert.pem: unable to get local"):
        expires_s(TlsFiles.of(foreign, "left"))


def test_both_directions_at_once_lose_nothing(pki: Path) -> None:
    """More than fits into the sockets, so that each side has to wait for the other one."""
    import threading

    data = b"".join(message(2, bytes(60_000)) for _ in range(50)) + GENUINE["barrier"]
    one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    shared = SharedTls(one, server_context(TlsFiles.of(pki, "controller")))
    received: list[bytes] = []

    def switch() -> None:
        with client(pki, "left").wrap_socket(other) as peer:
            while sum(map(len, received)) < len(data) and (part := peer.recv(1 << 16)):
                received.append(part)
                peer.sendall(part)

    thread = threading.Thread(target=switch)
    thread.start()
    assert shared.shake_hands(PATIENCE_S) == {LEFT}
    shared.settimeout(PATIENCE_S)
    sender = threading.Thread(target=shared.sendall, args=(data,))
    sender.start()
    echoed = b""
    while len(echoed) < len(data):
        echoed += shared.recv(1 << 16)
    sender.join(PATIENCE_S)
    thread.join(PATIENCE_S)
    shared.close()
    one.close()
    assert echoed == data
