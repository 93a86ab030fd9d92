"""A clustered store on loopback, in a directory of its own: members that can be killed, and what each of them holds."""

from __future__ import annotations

import json
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from controller.errors import CannotRun
from controller.store import server
from controller.store.database import DATABASE
from controller.store.remotes import Remote
from controller.store.server import Membership

PATIENCE_S = 30.0
POLL_S = 0.05
ASK_TIMEOUT_S = 5.0


class Member:
    """One server of the cluster. Its log goes to a file beside its database."""

    def __init__(self, directory: Path, number: int) -> None:
        self.remote = _loopback()
        self.raft = _loopback()
        self._file = directory / f"member{number}.db"
        self._log = directory / f"member{number}.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self, join: Sequence[Remote] = ()) -> None:
        """Start it, for the first time as a member of the cluster of `join`, or of a new one."""
        server.prepare(self._file, None if self._file.exists() else Membership(self.raft, join))
        with self._log.open("a") as log:
            self._process = subprocess.Popen(server.command(self._file, self.remote), stderr=log)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def is_leader(self) -> bool:
        return self._says("leader")

    def is_connected(self) -> bool:
        """Whether it has joined, and hears from a leader."""
        return self._says("connected")

    def rows(self, table: str, columns: Sequence[str]) -> list[dict[str, Any]]:
        """What it holds."""
        return ask(self.remote, DATABASE, {"op": "select", "table": table, "where": [], "columns": [*columns]})

    def memory_bytes(self) -> int:
        """What it has of the machine's."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmRSS:"))

    def _says(self, column: str) -> bool:
        where = [["name", "==", DATABASE]]
        with suppress(OSError):
            rows = ask(
                self.remote, "_Server", {"op": "select", "table": "Database", "where": where, "columns": [column]}
            )
            return any(row[column] is True for row in rows)
        return False


@contextmanager
def cluster(directory: Path, count: int) -> Iterator[list[Member]]:
    """`count` members that have found each other. Raises CannotRun."""
    members = [Member(directory, number) for number in range(count)]
    with ExitStack() as stack:
        for member in members:
            stack.callback(member.kill)
        members[0].start()
        await_all([members[0].is_leader])
        for member in members[1:]:
            member.start(join=[members[0].raft])
            await_all([member.is_connected])
        yield members


def await_all(conditions: Sequence[Callable[[], bool]]) -> None:
    """Return when all hold. Raises CannotRun."""
    end_s = time.monotonic() + PATIENCE_S
    while not all(condition() for condition in conditions):
        if time.monotonic() > end_s:
            raise CannotRun(f"the cluster did not come together within {PATIENCE_S:g} s", "try again when less is busy")
        time.sleep(POLL_S)


def ask(remote: Remote, database: str, operation: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows that a `select` finds. Raises OSError where nobody answers."""
    with socket.create_connection((remote.host, remote.port), ASK_TIMEOUT_S) as connection:
        connection.sendall(json.dumps({"method": "transact", "params": [database, operation], "id": 0}).encode())
        data = b""
        while chunk := connection.recv(1 << 16):
            data += chunk
            with suppress(json.JSONDecodeError):
                return list((json.loads(data)["result"] or [{"rows": []}])[0].get("rows", []))
    raise ConnectionError(f"{remote} broke off")


def _loopback() -> Remote:
    """A free port."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    return Remote("tcp", f"127.0.0.1:{port}", "127.0.0.1", port)
