"""Addresses of stores: what is understood, and what would be in the clear."""

from __future__ import annotations

from pathlib import Path

import pytest

from controller.errors import CannotRun
from controller.model import TlsFiles
from controller.store.remotes import parse, tls_files

TLS = TlsFiles(Path("ca"), Path("cert"), Path("key"))


@pytest.mark.parametrize(
    ("text", "listening"),
    [
        ("unix:/run/rtvnic/store.sock", "punix:/run/rtvnic/store.sock"),
        ("tcp:127.0.0.1:6641", "ptcp:6641:127.0.0.1"),
        ("tcp:[::1]:6641", "ptcp:6641:[::1]"),
        ("ssl:10.0.0.1:6641", "pssl:6641:10.0.0.1"),
    ],
)
def test_an_address_and_how_to_listen_there(text: str, listening: str) -> None:
    (remote,) = parse(text, TLS)
    assert str(remote) == text
    assert remote.listening == listening


def test_a_cluster_is_a_list() -> None:
    assert [remote.port for remote in parse("ssl:10.0.0.1:1,ssl:10.0.0.2:2,ssl:[fd00::1]:3", TLS)] == [1, 2, 3]


@pytest.mark.parametrize(
    "text", ["", "unix:store.sock", "http://here", "tcp:127.0.0.1", "tcp:127.0.0.1:65536", "ssl:10.0.0.1:1,"]
)
def test_no_address(text: str) -> None:
    with pytest.raises(CannotRun, match="is no address of a store; write unix:/path"):
        parse(text, TLS)


@pytest.mark.parametrize("text", ["tcp:10.0.0.1:6641", "tcp:0.0.0.0:6641", "tcp:[::]:6641"])
def test_nothing_leaves_the_machine_in_the_clear(text: str) -> None:
    with pytest.raises(CannotRun, match="in the clear; write ssl:"):
        parse(text, TLS)


@pytest.mark.parametrize("text", ["ssl:db.example.org:6641", "tcp:localhost:6641", "ssl:10.0.0:6641"])
def test_names_are_not_looked_up(text: str) -> None:
    with pytest.raises(CannotRun, match="names a host, and no name is ever looked up; write its IP address"):
        parse(text, TLS)


def test_ssl_needs_certificates() -> None:
    with pytest.raises(CannotRun, match="needs certificates; add 'tls: pki' to the topology file"):
        parse("ssl:10.0.0.1:6641", None)


def test_a_missing_certificate_is_named(tmp_path: Path) -> None:
    (tmp_path / "store-key.pem").touch()
    with pytest.raises(CannotRun, match=r"store-cert.pem does not exist; make it: rtvnic pki"):
        tls_files(tmp_path, "store")


def test_a_directory_that_cannot_be_looked_into_is_named(tmp_path: Path) -> None:
    with pytest.raises(CannotRun, match=r"cannot look at .*: File name too long"):
        tls_files(tmp_path / ("d" * 300), "store")
