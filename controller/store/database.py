"""A copy of the store's database, or of a part of it, that follows a server: what Store and Watch have in common.

Guarantee: a row is read once for each change of it, so that a snapshot of many channels costs little. One thread at a
time; whoever has several holds a lock.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from controller.model import DeadlineClass, TlsFiles
from controller.store.records import STANDING_COLUMNS, Record, Snapshot, record_of, snapshot_of
from controller.store.remotes import parse
from controller.tls import require_usable
from controller.without_eventlet import without_eventlet

with without_eventlet():
    from ovs.db import idl
    from ovs.stream import Stream
    from ovsdbapp.backend.ovs_idl import connection

SCHEMA = Path(__file__).with_name("rtvnic.ovsschema")
DATABASE = "RTvNIC"
TABLES = ("Global", "Channel", "Port", "Domain")
WRITER_RETRY_MS = 250
READER_RETRY_MS = 1000
"""Between two attempts to connect. Writers are few, and somebody waits for each; of readers there may be a thousand."""


class Database(connection.OvsdbIdl):  # type: ignore[misc]
    """`is_stale` becomes true with each change of more than standings. Make it with `open_database`."""

    def __init__(self, remotes: str, helper: Any, classes: Sequence[DeadlineClass], leader_only: bool) -> None:
        super().__init__(remotes, helper, leader_only=leader_only)
        reconnect = self._session.reconnect
        reconnect.min_backoff = reconnect.max_backoff = WRITER_RETRY_MS if leader_only else READER_RETRY_MS
        self._classes = classes
        self._records: dict[Any, Record] = {}
        self._unread: set[Any] = set()
        self.is_stale = True

    @property
    def is_current(self) -> bool:
        """Whether it follows a server at this moment."""
        return bool(self.state == self.IDL_S_MONITORING and self._session.is_connected())

    def notify(self, event: str, row: Any, updates: Any = None) -> None:
        if row._table.name == "Channel":
            self._records.pop(row.uuid, None)
            self._unread.add(row.uuid)
        if event != idl.ROW_UPDATE or not updates._data.keys() <= STANDING_COLUMNS:
            self.is_stale = True

    def rows(self, table: str) -> list[dict[str, Any]]:
        """All rows of `table` by column."""
        return [self._columns(row) for row in self.tables[table].rows.values()]

    def snapshot(self) -> Snapshot:
        """What there is at this moment. Raises UnreadableRowError."""
        self._read()
        whole = next(iter(self.rows("Global")), None)
        return snapshot_of(whole, self._records.values(), self.rows("Port"))

    def channels(self) -> dict[str, Any]:
        """The rows of channels by name. Raises UnreadableRowError."""
        self._read()
        rows = self.tables["Channel"].rows
        return {record.channel.name: rows[uuid] for uuid, record in self._records.items()}

    def _read(self) -> None:
        """Have a record of each row."""
        rows = self.tables["Channel"].rows
        for uuid in list(self._unread):
            if uuid in rows:
                self._records[uuid] = self._record(rows[uuid])
            self._unread.remove(uuid)
        if len(self._records) > len(rows):  # a new server was read from the beginning: nobody tells what went meanwhile
            self._records = {uuid: record for uuid, record in self._records.items() if uuid in rows}

    def _record(self, row: Any) -> Record:
        return record_of(self._columns(row), self._classes)

    @staticmethod
    def _columns(row: Any) -> dict[str, Any]:
        return {column: getattr(row, column) for column in row._table.columns}


def open_database(
    remotes: str,
    classes: Sequence[DeadlineClass],
    tls: TlsFiles | None,
    columns: Mapping[str, Sequence[str]],
    leader_only: bool,
) -> Database:
    """The tables and columns that `columns` names (no column: all of a table). It connects when it is first run.

    Writers speak to a cluster's leader only; readers to any member. Raises CannotRun for files that cannot be used:
    `ovs` would only find that no server answers.
    """
    kinds = {remote.kind for remote in parse(remotes, tls)}
    if tls is not None and "ssl" in kinds:
        require_usable(tls)
        # `ovs` has these files once for a process
        Stream.ssl_set_private_key_file(str(tls.key))
        Stream.ssl_set_certificate_file(str(tls.certificate))
        Stream.ssl_set_ca_cert_file(str(tls.authority))
    helper = idl.SchemaHelper(str(SCHEMA))
    for table, wanted in columns.items():
        if wanted:
            helper.register_columns(table, list(wanted))
        else:
            helper.register_table(table)
    return Database(remotes, helper, classes, leader_only)
