"""Real ovsdb-servers with the store's schema, and records to put into them."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

from support.networks import FAST, SLOW
from support.waiting import wait_until

from controller.errors import AnswerIsNo
from controller.model import Channel, DeadlineClass
from controller.network.labels import free_label
from controller.store import server
from controller.store.records import Change, Owner, Record, Snapshot
from controller.store.remotes import Remote

CLASSES: tuple[DeadlineClass, ...] = (FAST, SLOW)


class StoreServer:
    """One `ovsdb-server` on a Unix socket in `directory`, which can be killed and started again."""

    def __init__(self, directory: Path) -> None:
        self.file = directory / "store.db"
        self.socket = Remote("unix", str(directory / "store.sock"))
        self.remote = str(self.socket)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        server.prepare(self.file)
        self._process = subprocess.Popen(server.command(self.file, self.socket))
        wait_until(lambda: server.answers(self.socket), "the store does not answer")

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()


@contextmanager
def running(directory: Path) -> Iterator[StoreServer]:
    store_server = StoreServer(directory)
    store_server.start()
    try:
        yield store_server
    finally:
        store_server.kill()


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


def putting(*records: Record) -> Callable[[Snapshot], Change]:
    """What decides to have `records`."""
    return lambda _: Change(put=records)


def creating(name: str) -> Callable[[Snapshot], Change]:
    """What decides to make a channel with a free label, and refuses if there is one of that name."""

    def decide(before: Snapshot) -> Change:
        if name in before.records:
            raise AnswerIsNo(f"there is a channel '{name}'")
        new = record(name)
        label = free_label(name, {each.channel.label for each in before.records.values()})
        return Change(put=(replace(new, channel=replace(new.channel, label=label)),))

    return decide
