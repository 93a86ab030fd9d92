"""Real ovsdb-servers with the store's schema, and records to put into them."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path

from support.networks import FAST, SLOW
from support.waiting import wait_until

from controller.labels import free_label
from controller.model import Channel, DeadlineClass
from controller.store.database import SCHEMA
from controller.store.records import Change, Owner, Record, Snapshot

CLASSES: tuple[DeadlineClass, ...] = (FAST, SLOW)


class StoreServer:
    """One `ovsdb-server` on a Unix socket in `directory`, which can be killed and started again."""

    def __init__(self, directory: Path) -> None:
        self.file = directory / "store.db"
        self.socket = directory / "store.sock"
        self.remote = f"unix:{self.socket}"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        if not self.file.exists():
            subprocess.run(["ovsdb-tool", "create", self.file, SCHEMA], check=True)
        self._process = subprocess.Popen(
            ["ovsdb-server", self.file, f"--remote=p{self.remote}", "--unixctl=none", "--verbose=console:err"]
        )
        wait_until(self.answers, "the store does not answer")

    def answers(self) -> bool:
        done = subprocess.run(["ovsdb-client", "-t", "1", "list-dbs", self.remote], capture_output=True, check=False)
        return b"RTvNIC" in done.stdout

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()


@contextmanager
def running(directory: Path) -> Iterator[StoreServer]:
    server = StoreServer(directory)
    server.start()
    try:
        yield server
    finally:
        server.kill()


def record(
    name: str, domains: tuple[str, ...] = ("left", "right"), label: int = 0, rate_bps: int = 1_000_000
) -> Record:
    """A channel from `vm1` to `vm2`; its label by its name unless it is given."""
    channel = Channel(
        name=name,
        label=free_label(name, ()),
        talker="vm1",
        listener="vm2",
        source=ip_address("10.0.0.1"),
        destination=ip_address("10.0.0.2"),
        protocol=None,
        src_port=None,
        dst_port=None,
        deadline_ns=FAST.up_to_ns,
        rate_bps=rate_bps,
        burst_bytes=3000,
        deadline_class=FAST,
        packet_bytes=1472,
        on_miss=("log",),
    )
    return Record(channel, Owner.FILE, 0, domains)


def adding(*records: Record) -> Callable[[Snapshot], Change]:
    """What decides to put `records`."""

    def decide(_: Snapshot) -> Change:
        return Change(put=records)

    return decide


def pause() -> None:
    """Long enough for what should not happen to happen."""
    time.sleep(0.3)
