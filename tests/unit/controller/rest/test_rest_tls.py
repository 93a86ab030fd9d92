"""REST beyond this machine: TLS, a certificate of our authority from whoever asks, and a token beside it."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from support.domains import Driver
from support.examples import example
from support.fake_store import ENDPOINT, FakeStore

from controller.model import TlsFiles
from controller.rest import server as rest
from controller.rest.access import Token, TokenRole
from controller.rest.event_stream import EventStream
from controller.rest.gate import Door
from controller.rest.token_file import TokenFile, write_tokens
from controller.rest.writes import Writer
from controller.store.remotes import tls_files
from controller.tls import rest_context
from rtvnic.authority import Authority, Holder, Use

NETWORK = example("two_hypervisors")


def made(directory: Path, name: str) -> TlsFiles:
    """An authority of its own in `directory`, and a certificate of it for `name` at 127.0.0.1."""
    directory.mkdir(exist_ok=True)
    authority = Authority(directory)
    authority.issue(Holder(name, Use.BOTH, addresses=("127.0.0.1",)), days=1, renews=False)
    return tls_files(directory, name)


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    """Of the controller of `left`, whose endpoint is taken for one that other machines reach."""
    write_tokens(tmp_path / "tokens", [Token.of(TokenRole.READ, "wall", "secret")])
    door = Door(is_distant=True, tokens=TokenFile(tmp_path / "tokens"))
    api = rest.api(Driver(NETWORK, "left"), Writer(NETWORK, FakeStore(NETWORK)), EventStream(), ENDPOINT, door)
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        server = rest.RestServer(api, listener, made(tmp_path / "ours", "left"))
        server.start()
        stack.callback(server.stop)
        yield f"https://127.0.0.1:{listener.getsockname()[1]}"


def client(tls: TlsFiles, token: str = "") -> httpx.Client:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return httpx.Client(verify=rest_context(tls), headers=headers, trust_env=False)


def test_a_certificate_and_a_token_are_needed(url: str, tmp_path: Path) -> None:
    ours = made(tmp_path / "ours", "store")
    with client(ours, "secret") as known:
        assert known.get(f"{url}/v1/channels").status_code == 200
        assert known.delete(f"{url}/v1/channels/video").status_code == 403
    with client(ours) as nameless:
        assert nameless.get(f"{url}/v1/channels").status_code == 401


def test_without_a_certificate_of_our_authority_nothing_is_said(url: str, tmp_path: Path) -> None:
    ours, theirs = made(tmp_path / "ours", "store"), made(tmp_path / "theirs", "store")
    stranger = replace(theirs, authority=ours.authority)
    with client(stranger, "secret") as known, pytest.raises(httpx.TransportError):
        known.get(f"{url}/v1/channels")
    with client(theirs, "secret") as other, pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
        other.get(f"{url}/v1/channels")


def test_who_begins_to_speak_tls_and_does_not_go_on_is_hung_up_on(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rest, "REQUEST_TIMEOUT_S", 0.05)
    address = httpx.URL(request.getfixturevalue("url"))
    with socket.create_connection((address.host, address.port or 0), timeout=10) as silent:
        silent.sendall(b"\x16\x03\x01")
        assert silent.recv(1) == b""
