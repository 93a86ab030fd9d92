"""A shim process between two veth pairs in a namespace of its own, as `rtvnic shim --help` draws it. Needs root.

app ── app-shim ═ shim ═ wire ── far
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from pyroute2 import netns
from support.waiting import PATIENCE_S, wait_until

from dataplane.state import remove_states, state_file

ETH_P_ALL = 3
SOL_PACKET = 263
PACKET_IGNORE_OUTGOING = 23
LIVENESS = "live"
SHIM = (sys.executable, "-m", "rtvnic", "shim")


class ShimLab:
    """The namespace `name` with its interfaces; `start` runs a shim in it."""

    def __init__(self, name: str, directory: Path) -> None:
        self.name = name
        self.socket_path = directory / "shim.sock"
        self._processes: list[subprocess.Popen[str]] = []

    def __enter__(self) -> Self:
        netns.create(self.name)
        self.run("sysctl -qw net.ipv6.conf.default.disable_ipv6=1")
        for first, second in (("app", "app-shim"), ("wire", "far")):
            self.run(f"ip link add {first} mtu 1508 type veth peer name {second} mtu 1508")
            self.run(f"ip link set {first} up")
            self.run(f"ip link set {second} up")
        self.run(f"ip tuntap add dev {LIVENESS} mode tap")
        self.run(f"ip link set {LIVENESS} up")
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            process.kill()
            process.communicate()
        netns.remove(self.name)
        remove_states(self.socket_path.parent)

    @property
    def state(self) -> Path:
        """The file in which the shim keeps its state."""
        return state_file(self.socket_path)

    def run(self, command: str) -> str:
        """The output of a command in the namespace."""
        words = ["ip", "netns", "exec", self.name, *command.split()]
        return subprocess.run(words, check=True, capture_output=True, text=True).stdout

    def spawn(
        self,
        *options: str,
        inner: str = "app-shim",
        uplink: str = "wire",
        under: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
    ) -> subprocess.Popen[str]:
        """A shim that need not come up, started by the command `under`."""
        words = ["ip", "netns", "exec", self.name, *under, *SHIM, inner, uplink, *options]
        process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
        self._processes.append(process)
        return process

    def start(
        self, *options: str, inner: str = "app-shim", uplink: str = "wire", under: Sequence[str] = ()
    ) -> subprocess.Popen[str]:
        """A shim that serves its socket."""
        process = self.spawn("--socket", str(self.socket_path), *options, inner=inner, uplink=uplink, under=under)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        return process

    def start_live(self, *options: str, under: Sequence[str] = ()) -> subprocess.Popen[str]:
        """A shim that has its settings: its liveness TAP is up."""
        process = self.start("--liveness", LIVENESS, *options, under=under)
        with ShimClient(self.socket_path) as client:
            assert client.ask("ready")["ok"]
        wait_until(self.is_live)
        return process

    @contextlib.contextmanager
    def tap(self, interface: str) -> Iterator[socket.socket]:
        """A raw socket on an interface: what is sent leaves by it, what it receives came in by it."""
        netns.pushns(self.name)
        try:
            raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
            raw.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
            raw.bind((interface, ETH_P_ALL))
        finally:
            netns.popns()
        raw.settimeout(PATIENCE_S)
        with raw:
            yield raw

    def is_live(self) -> bool:
        return "LOWER_UP" in self.run(f"ip link show {LIVENESS}")

    def times_live(self) -> int:
        """How often the liveness TAP has got a carrier so far."""
        return int(self.run(f"cat /sys/class/net/{LIVENESS}/carrier_up_count"))


class ShimClient:
    """A client of the shim's socket."""

    def __init__(self, path: Path) -> None:
        self._connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._connection.settimeout(PATIENCE_S)
        try:
            self._connection.connect(str(path))
        except OSError:
            self._connection.close()
            raise
        self._lines = self._connection.makefile("rb")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._lines.close()
        self._connection.close()

    def ask(self, op: str, **fields: Any) -> dict[str, Any]:
        """The answer to a request."""
        self.send(json.dumps({"id": op, "op": op, **fields}).encode())
        return self.next_message()

    def send(self, line: bytes) -> None:
        self._connection.sendall(line + b"\n")

    def next_message(self) -> dict[str, Any]:
        """The next answer or event; empty when the shim has hung up."""
        try:
            line = self._lines.readline()
        except ConnectionResetError:
            return {}
        message: dict[str, Any] = json.loads(line) if line else {}
        return message


def stop(process: subprocess.Popen[str], number: int = signal.SIGTERM) -> tuple[int, str, str]:
    """Exit code, output and error output of a shim that is told to end."""
    os.kill(process.pid, number)
    output, errors = process.communicate(timeout=PATIENCE_S)
    return process.returncode, output, errors
