"""How a controller lets REST in: what it refuses to start with, and the Unix socket that is root's own."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest
from support.networks import two_hypervisors

from controller import launcher, runtime
from controller.errors import CannotRun
from controller.listeners import private_listener
from controller.model import Network


@pytest.fixture
def run_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(runtime, "RUN_DIR", tmp_path / "run")
    return tmp_path / "run"


class NoController:
    """What servers are made for, and never ask before they start."""

    loop: Any = None
    store: Any = None


def servers(network: Network, tokens: Path | None) -> None:
    with socket.socket() as listener:
        launcher._rest_servers(NoController(), network, "left", listener, tokens)  # type: ignore[arg-type]


def test_a_token_file_that_cannot_be_used_is_told_at_the_start(run_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "tokens").touch(0o644)
    with pytest.raises(CannotRun, match="chmod 600"):
        servers(two_hypervisors(), tmp_path / "tokens")


def test_the_unix_socket_is_for_root_alone_and_takes_the_place_of_a_former_one(run_dir: Path) -> None:
    for _ in range(2):
        listener = private_listener(runtime.rest_socket("left"))
        assert (run_dir / "left.rest.sock").stat().st_mode & 0o777 == 0o600
        assert run_dir.stat().st_mode & 0o777 == 0o700
        listener.close()


def test_a_directory_that_is_too_long_for_a_socket_is_one_message(tmp_path: Path) -> None:
    with pytest.raises(CannotRun, match="too long; run it as root, or name another directory: RTVNIC_RUN_DIR"):
        private_listener(tmp_path / ("x" * 120) / "left.rest.sock")
