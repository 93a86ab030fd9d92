"""What of a test bed can be seen on this machine, so that two moments can be compared."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path

from controller.runtime import RUN_DIR
from dataplane.state import states
from ovs_config.openvswitch import of_system
from ovs_config.ovsdb import connect
from ovs_config.waiting import wait_until

PATIENCE_S = 10.0
"""The kernel removes a network namespace some time after its last process has ended."""

_PROGRAMS = ("rtvnic", "ovsdb-server", "ovs-vswitchd", "mininet:")
_TABLES = ("Bridge", "Controller", "Port", "Interface", "QoS", "Queue")


@dataclass(frozen=True)
class Snapshot:
    """Of the calling thread's network. A process is one of our programs' or of a VM's shell, and no zombie."""

    processes: frozenset[str]
    namespaces: frozenset[str]
    interfaces: frozenset[str]
    ovsdb_rows: frozenset[str]
    files: frozenset[str]

    def since(self, before: Snapshot) -> list[str]:
        """What is there now and was not there `before`, each with its kind."""
        return [
            f"{field.name}: {each}"
            for field in fields(self)
            for each in sorted(getattr(self, field.name) - getattr(before, field.name))
        ]


def take(run_dir: Path = RUN_DIR) -> Snapshot:
    """This moment. Rows are those of the system's Open vSwitch: a private one takes its rows with it."""
    return Snapshot(
        processes=frozenset(_processes()),
        namespaces=frozenset(_namespaces()),
        interfaces=frozenset(name for _, name in socket.if_nameindex()),
        ovsdb_rows=frozenset(_rows()),
        files=frozenset(str(path) for path in (run_dir, *run_dir.rglob("*"), *states(run_dir)) if path.exists()),
    )


def left_since(before: Snapshot, run_dir: Path = RUN_DIR) -> list[str]:
    """What there is now and was not `before`, once everything has had PATIENCE_S to go."""
    wait_until(lambda: not take(run_dir).since(before), PATIENCE_S)
    return take(run_dir).since(before)


def _processes() -> Iterator[str]:
    own = str(os.getpid())
    for directory in _process_directories():
        words = _read(directory / "cmdline").replace("\0", " ").strip()
        if directory.name != own and any(program in words for program in _PROGRAMS):
            yield f"{directory.name} {words}"


def _namespaces() -> Iterator[str]:
    for directory in _process_directories():
        try:
            yield str((directory / "ns/net").readlink())
        except OSError:
            continue  # it has ended, or is a zombie


def _process_directories() -> Iterator[Path]:
    return (path for path in Path("/proc").iterdir() if path.name.isdecimal())


def _read(file: Path) -> str:
    """Its text; empty when its process has ended, and for a zombie's command line."""
    try:
        return file.read_text(errors="replace")
    except OSError:
        return ""


def _rows() -> Iterator[str]:
    system = of_system()
    if system is not None:
        with connect(system.db_socket) as ovsdb:
            for table in _TABLES:
                yield from (f"{table} {uuid}" for uuid in ovsdb.tables[table].rows)
