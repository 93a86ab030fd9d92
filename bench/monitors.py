"""Many domains' watches in one process, each a connection of its own with the condition that a controller's has.

    python -m bench.monitors --remotes tcp:127.0.0.1:6641 --domains 1000

prints `ready` when all have what they asked for; at the end of its standard input, what each of them was sent as JSON.
"""

from __future__ import annotations

import argparse
import json
import resource
import selectors
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

from controller.store.client import WATCHED_COLUMNS
from controller.store.database import DATABASE, SCHEMA
from controller.store.remotes import Remote, parse

SPARE_FILES = 64


def domain_name(number: int) -> str:
    return f"d{number}"


class Monitor:
    """One domain's connection: counts what comes, and notes when each version of a channel did."""

    def __init__(self, address: tuple[str, int], domain: str) -> None:
        self.domain = domain
        self.is_ready = False
        self.rows = 0
        self.foreign = 0
        self.received_bytes = 0
        self.arrivals: list[tuple[int, int]] = []
        self._buffer = ""
        self._socket = socket.create_connection(address)
        self._send("monitor_cond_since", [DATABASE, "m", _requests(domain), "00000000-0000-0000-0000-000000000000"], 1)

    def fileno(self) -> int:
        return self._socket.fileno()

    def read(self) -> None:
        """Take what has come. Raises ConnectionError at the end of the connection."""
        data = self._socket.recv(1 << 18)
        if not data:
            raise ConnectionError(f"the server has left the monitor of {self.domain}")
        self.received_bytes += len(data)
        self._buffer += data.decode()
        for message in self._messages():
            self._take(message)

    def _messages(self) -> Iterator[dict[str, Any]]:
        decoder = json.JSONDecoder()
        while self._buffer:
            try:
                message, end = decoder.raw_decode(self._buffer)
            except json.JSONDecodeError:
                return  # the rest is still to come
            self._buffer = self._buffer[end:]
            yield message

    def _take(self, message: dict[str, Any]) -> None:
        if message.get("method") == "echo":
            self._socket.sendall(json.dumps({"result": message["params"], "error": None, "id": message["id"]}).encode())
        elif message.get("method") == "update3" or message.get("id") == 1:
            updates = message["params"][2] if "params" in message else message["result"][2]
            self.is_ready = True
            for row in updates.get("Channel", {}).values():
                self._note(row)

    def _note(self, row: dict[str, Any]) -> None:
        self.rows += 1
        whole = row.get("initial") or row.get("insert")
        if whole is not None and self.domain not in members_of(whole["domains"]):
            self.foreign += 1
        if "modify" in row:
            self.arrivals.append((row["modify"]["version"], time.monotonic_ns()))

    def _send(self, method: str, params: list[Any], number: int) -> None:
        self._socket.sendall(json.dumps({"method": method, "params": params, "id": number}).encode())


def members_of(value: Any) -> list[Any]:
    """Of a set in OVSDB's notation."""
    return list(value[1]) if isinstance(value, list) else [value]


def _requests(domain: str) -> dict[str, Any]:
    """What a Watch asks for."""
    tables = json.loads(SCHEMA.read_text())["tables"]
    where = {"Channel": [["domains", "includes", domain]], "Domain": [["name", "==", domain]]}
    requests: dict[str, Any] = {}
    for table, columns in WATCHED_COLUMNS.items():
        requests[table] = [{"columns": list(columns or tables[table]["columns"]), "where": where.get(table, [True])}]
    return requests


def watch(remotes: Sequence[Remote], count: int) -> list[Monitor]:
    """As many monitors at these remotes, by turns, until standard input ends."""
    monitors: list[Monitor] = []
    with selectors.DefaultSelector() as selector:
        selector.register(sys.stdin, selectors.EVENT_READ)
        for number in range(count):
            remote = remotes[number % len(remotes)]
            monitors.append(Monitor((remote.host, remote.port), domain_name(number)))
            selector.register(monitors[-1], selectors.EVENT_READ)
            _read(selector, timeout_s=0)  # a server leaves those who do not answer while others still connect
        while not all(monitor.is_ready for monitor in monitors):
            _read(selector)
        print("ready", flush=True)
        while _read(selector):
            pass
    return monitors


def _read(selector: selectors.BaseSelector, timeout_s: float | None = None) -> bool:
    """Read what there is. False when standard input has ended."""
    ready = [key.fileobj for key, _ in selector.select(timeout_s)]
    for monitor in ready:
        if isinstance(monitor, Monitor):
            monitor.read()
    return sys.stdin not in ready


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.monitors", description="Watch a store for many domains.")
    parser.add_argument("--remotes", required=True, help="the members of the store, used in turn")
    parser.add_argument("--domains", type=int, required=True, metavar="N", help="how many")
    args = parser.parse_args(argv)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, args.domains + SPARE_FILES), most))
    monitors = watch(parse(args.remotes, None), args.domains)
    fields = ("domain", "rows", "foreign", "received_bytes", "arrivals")
    print(json.dumps([{field: getattr(monitor, field) for field in fields} for monitor in monitors]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
