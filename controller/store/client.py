"""The channel store's clients, through ovsdbapp: Store for whoever writes, Watch for the controller of a domain.

Guarantee: a change is made in one transaction, on condition that nobody has made another since it was decided; so no
update is lost, none is made twice, and of two that do not go together the second sees the first. The prerequisite is
`Global.revision`, which each change raises. When the connection breaks before the acknowledgement, what is there then
tells whether the change was made.

Threads: any may use a Store, one change at a time; a Watch has a thread of its own, which posts and writes back.
"""

from __future__ import annotations

import logging
import os
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from controller.domain.reports import Role
from controller.errors import CannotRun
from controller.model import DeadlineClass, TlsFiles
from controller.store.database import TABLES, open_database
from controller.store.records import (
    NO_JITTER_NS,
    STANDING_COLUMNS,
    Bounds,
    Change,
    ChannelsRead,
    Snapshot,
    StoreBack,
    StoreEvent,
    StoreGone,
    UnreadableRowError,
    bounds_row,
    effective,
    is_done,
    row_of,
)
from controller.without_eventlet import without_eventlet

with without_eventlet():
    import ovs.poller
    from ovs.db import idl
    from ovsdbapp import api, exceptions
    from ovsdbapp.backend import ovs_idl
    from ovsdbapp.backend.ovs_idl import command, connection

LOG = logging.getLogger(__name__)

TIMEOUT_S = 10.0
TRIES = 100
"""Of the writers that decide at the same time one gets through, so many tries mean that something else is wrong."""

PAUSE_S = 0.002
PAUSE_MOST_S = 0.1
POLL_S = 0.01
GONE_AFTER_S = 1.0
"""A server that is started again at once is not called gone."""

WRITE_EVERY_S = 0.1
REASON_MAX = 512

WATCHED_COLUMNS: Mapping[str, Sequence[str]] = {
    "Global": ("topology", "jitter_ns", "slacks"),
    "Channel": (),
    "Port": (),
    "Domain": (),
}
"""Not the revision: it would tell every controller of every change anywhere."""

Decide = Callable[[Snapshot], Change | None]


class _Api(ovs_idl.Backend, api.API):  # type: ignore[misc]
    """What ovsdbapp's transactions need to know."""

    ovsdb_connection: Any = None  # ovsdbapp would share one connection among all objects of the class


class _Outdated(Exception):
    """Somebody has made a change since this one was decided."""


class Store:
    """The whole store, for reading and writing. Connects when first used.

    `remotes` as in controller.store.remotes, of a clustered store all members; `classes` are those of the network.
    Every method raises CannotRun when the store does not answer within `timeout_s`.
    """

    def __init__(
        self, remotes: str, classes: Sequence[DeadlineClass], tls: TlsFiles | None = None, timeout_s: float = TIMEOUT_S
    ) -> None:
        self._remotes = remotes
        self._timeout_s = timeout_s
        self._idl = open_database(remotes, classes, tls, dict.fromkeys(TABLES, ()), leader_only=True)
        self._connection = connection.Connection(self._idl, timeout_s)
        self._api = _Api(self._connection, start=False, auto_index=False)
        self._api.ovsdb_connection = self._connection
        self._turn = threading.Lock()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Disconnect; a use after it connects again."""
        self._connection.stop(self._timeout_s)

    def read(self) -> Snapshot:
        """All channels and bounds."""
        return self._read(self._end_s())

    def _read(self, end_s: float) -> Snapshot:
        with self._view(end_s):
            try:
                return self._idl.snapshot()
            except UnreadableRowError as error:
                raise CannotRun(
                    str(error), f"change or remove the row: ovsdb-client transact {self._remotes}"
                ) from None

    def domains(self) -> dict[str, tuple[str, tuple[str, ...]]]:
        """By domain: where its controller answers, and the domains that it shares channels with."""
        with self._view(self._end_s()):
            return {row["name"]: (row["rest_url"], tuple(sorted(row["peers"]))) for row in self._idl.rows("Domain")}

    def change(self, decide: Decide) -> Snapshot:
        """Make what `decide` says of the present state, all or nothing, and return the state after.

        It is asked again whenever somebody else was faster, and refuses by raising. Where it returns None, or what is
        so already, nothing is written. New and changed channels get the new revision for their version, and their
        standings become empty. Its turn and the state before it have to come within `timeout_s` together: a change
        that other ones hold up longer is not made.
        """
        end_s = self._end_s()
        with self._own_turn():
            before = self._read(end_s)
            for attempt in range(TRIES):
                wanted = decide(before)
                change = effective(wanted, before) if wanted is not None else None
                if change is None:
                    return before
                is_acknowledged = self._commit(before, change)
                after = self.read()
                if is_acknowledged or is_done(change, before, after):
                    return after
                time.sleep(random.uniform(0, min(PAUSE_MOST_S, PAUSE_S * 2 ** min(attempt, 16))))
                before = self.read()
        raise CannotRun(f"the store at {self._remotes} was changed by others {TRIES} times meanwhile", "try again")

    @contextmanager
    def _own_turn(self) -> Iterator[None]:
        """No other change is made inside the block. Raises CannotRun."""
        if not self._turn.acquire(timeout=self._timeout_s):
            what = f"the store at {self._remotes} was busy with other changes for {self._timeout_s:g} s"
            raise CannotRun(what, "try again in a moment")
        try:
            yield
        finally:
            self._turn.release()

    def _commit(self, before: Snapshot, change: Change) -> bool:
        """Whether the store has acknowledged `change`; False: perhaps it was made, perhaps somebody was faster."""
        transaction = self._api.create_transaction(check_error=True, log_errors=False)
        transaction.add(_Write(self._api, before.revision, change))
        try:
            transaction.commit()
        except _Outdated:
            return False
        except exceptions.TimeoutException:
            raise self._silent("; whether the change was made is not known") from None
        except RuntimeError as error:
            if "Global" in str(error):
                return False  # it takes one row: somebody else has made the first change of all
            raise CannotRun(f"the store at {self._remotes} refuses the change: {error}", "its log says more") from None
        return True

    @contextmanager
    def _view(self, end_s: float) -> Iterator[None]:
        """Nothing changes inside the block, and what is there follows the server. Raises CannotRun after `end_s`."""
        self._start()
        while not self._lock_current(max(0.0, end_s - time.monotonic())):
            if time.monotonic() >= end_s:
                raise self._silent()
            time.sleep(POLL_S)
        try:
            yield
        finally:
            self._connection.lock.release()

    def _lock_current(self, timeout_s: float) -> bool:
        if not self._connection.lock.acquire(timeout=timeout_s):
            return False
        if not self._idl.is_current:
            self._connection.lock.release()
            return False
        return True

    def _end_s(self) -> float:
        """When patience ends that begins now."""
        return time.monotonic() + self._timeout_s

    def _start(self) -> None:
        if self._connection.thread is not None:
            return
        try:
            self._connection.start()
        except Exception as error:  # ovsdbapp raises it bare
            raise self._silent() from error

    def _silent(self, consequence: str = "") -> CannotRun:
        cure = "is it running? `rtvnic store` starts one"
        if "ssl:" in self._remotes:
            cure += "; or a certificate does not fit, or has expired"
        return CannotRun(f"the store at {self._remotes} did not answer within {self._timeout_s:g} s{consequence}", cure)


class _Write(command.BaseCommand):  # type: ignore[misc]
    """Writes `change` on condition that the store's revision still is `revision`."""

    def __init__(self, store: _Api, revision: int, change: Change) -> None:
        super().__init__(store)
        self._revision = revision
        self._change = change

    def run_idl(self, txn: Any) -> None:
        self._raise_revision(txn)
        self._write_channels(txn)
        if self._change.bounds is not None:
            self._write_bounds(txn, self._change.bounds)

    def _raise_revision(self, txn: Any) -> None:
        tables = self.api.tables
        whole = next(iter(tables["Global"].rows.values()), None)
        if (whole.revision if whole else 0) != self._revision:
            raise _Outdated
        if whole is None:
            whole = txn.insert(tables["Global"])  # the table takes one row, so that two writers cannot both do it
            whole.jitter_ns = NO_JITTER_NS
        else:
            whole.verify("revision")
        whole.revision = self._revision + 1
        if self._change.jitter_ns is not None:
            whole.jitter_ns = self._change.jitter_ns
        if self._change.slacks is not None:
            whole.slacks = dict(self._change.slacks)
        if self._change.topology is not None:
            whole.topology = self._change.topology

    def _write_channels(self, txn: Any) -> None:
        table, rows = self.api.tables["Channel"], self.api.idl.channels()
        for name in self._change.remove:
            rows[name].delete()
        for record in self._change.put:
            _set(rows.get(record.channel.name) or txn.insert(table), **row_of(record), **_no_standing())

    def _write_bounds(self, txn: Any, bounds: Bounds) -> None:
        table = self.api.tables["Port"]
        rows = {(row.node, row.peer): row for row in table.rows.values()}
        for (node, peer), by_class in bounds.items():
            _set(rows.pop((node, peer), None) or txn.insert(table), node=node, peer=peer, bounds=bounds_row(by_class))
        for row in rows.values():
            row.delete()


def _no_standing() -> dict[str, str]:
    return dict.fromkeys(STANDING_COLUMNS, "")


def _set(row: Any, **columns: Any) -> None:
    """Write what differs."""
    for column, value in columns.items():
        if row._data is None or getattr(row, column) != value:
            setattr(row, column, value)


@dataclass(frozen=True)
class _Standing:
    """What to write back of an end; of the channel's `version` only, None: of any."""

    state: str
    reason: str
    version: int | None


class Watch:
    """The channels of one domain, followed for good: the server sends no others.

    `post` gets ChannelsRead, StoreGone and StoreBack in the watch's own thread, and must not block. `write_standing`
    and `announce` return at once; of what is written for one end or domain while the store is slow the latest counts.
    """

    def __init__(
        self,
        remotes: str,
        domain: str,
        classes: Sequence[DeadlineClass],
        post: Callable[[StoreEvent], None],
        tls: TlsFiles | None = None,
    ) -> None:
        self._remotes = remotes
        self._domain = domain
        self._post = post
        self._idl = open_database(remotes, classes, tls, WATCHED_COLUMNS, leader_only=False)
        self._idl.cond_change("Channel", [["domains", "includes", domain]])  # before it connects: so it holds at once
        self._idl.cond_change("Domain", [["name", "==", domain]])
        self._lock = threading.Lock()
        self._standings: dict[tuple[str, Role], _Standing] = {}
        self._announced: dict[str, Any] | None = None
        self._writing: tuple[Any, dict[tuple[str, Role], _Standing]] | None = None
        self._write_at_s = 0.0
        self._last: Snapshot | None = None
        self._away_since_s: float | None = time.monotonic()
        self._trouble = ""
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._is_stopping = False
        self._thread = threading.Thread(target=self._run, name="store watch", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Disconnect and end the thread; for good."""
        self._is_stopping = True
        os.eventfd_write(self._wake, 1)
        self._thread.join()
        self._idl.close()
        os.close(self._wake)

    def write_standing(self, name: str, role: Role, state: str, reason: str = "", version: int | None = None) -> None:
        """Say how an end of channel `name` stands, with `version` only if that is still the channel's.

        A change of a channel empties its standings: whoever hears of it says them again.
        """
        with self._lock:
            self._standings[name, role] = _Standing(state, reason[:REASON_MAX], version)
        os.eventfd_write(self._wake, 1)

    def announce(self, rest_url: str, peers: Sequence[str]) -> None:
        """Say where the domain's controller answers, and with which domains it shares channels."""
        with self._lock:
            self._announced = {"rest_url": rest_url, "peers": sorted(set(peers))}
        os.eventfd_write(self._wake, 1)

    def _run(self) -> None:
        while not self._is_stopping:
            try:
                self._idl.run()
                self._tell()
                self._write_back()
                self._wait()
            except Exception:  # a reply that `ovs` does not understand must not end the thread
                LOG.exception("the store at %s is read anew", self._remotes)
                time.sleep(GONE_AFTER_S)
                self._idl.force_reconnect()

    def _wait(self) -> None:
        """Until there is something to do."""
        poller = ovs.poller.Poller()
        self._idl.wait(poller)
        poller.fd_wait(self._wake, ovs.poller.POLLIN)
        if self._away_since_s is not None and not self._trouble:
            poller.timer_wait(int(GONE_AFTER_S * 1000))
        if self._writing is None and self._has_news():
            poller.timer_wait(max(0, int((self._write_at_s - time.monotonic()) * 1000)) + 1)
        poller.block()
        with suppress(BlockingIOError):
            os.eventfd_read(self._wake)

    def _tell(self) -> None:
        """Post what has changed since the last time."""
        if not self._idl.is_current:
            self._be_away(f"no answer from {self._remotes}")
            return
        if self._idl.is_stale:
            try:
                snapshot = self._idl.snapshot()
            except UnreadableRowError as error:
                self._be_away(str(error), after_s=0)
                return
            self._idl.is_stale = False
            self._be_back()
            if snapshot != self._last:
                self._last = snapshot
                self._post(ChannelsRead(snapshot))
        else:
            self._be_back()

    def _be_away(self, why: str, after_s: float = GONE_AFTER_S) -> None:
        """Say that the store is gone once it has been so for `after_s`, and again when the reason is another."""
        now_s = time.monotonic()
        self._away_since_s = self._away_since_s or now_s
        if now_s - self._away_since_s >= after_s and why != self._trouble:
            self._trouble = why
            self._post(StoreGone(why))

    def _be_back(self) -> None:
        self._away_since_s = None
        if self._trouble:
            self._trouble = ""
            self._post(StoreBack())

    def _has_news(self) -> bool:
        with self._lock:
            return self._idl.is_current and not self._trouble and (bool(self._standings) or self._is_unannounced())

    def _is_unannounced(self) -> bool:
        """Whether the domain's row does not say what it should."""
        row = next(iter(self._idl.rows("Domain")), {})
        return self._announced is not None and any(row.get(key) != value for key, value in self._announced.items())

    def _write_back(self) -> None:
        """Send what is to be written, one transaction at a time and not too often."""
        if self._writing is not None:
            self._finish_writing()
        elif time.monotonic() >= self._write_at_s and self._has_news():
            with self._lock:
                wanted = dict(self._standings)
            self._write_at_s = time.monotonic() + WRITE_EVERY_S
            txn = idl.Transaction(self._idl)
            self._compose(txn, wanted)
            self._writing = txn, wanted
            self._finish_writing()

    def _compose(self, txn: Any, wanted: Mapping[tuple[str, Role], _Standing]) -> None:
        channels = self._idl.channels()
        for (name, role), standing in wanted.items():
            row = channels.get(name)
            if row is not None and standing.version in (None, row.version):
                row.verify("version")
                _set(row, **{f"{role}_state": standing.state, f"{role}_reason": standing.reason})
        if self._is_unannounced() and self._announced is not None:
            table = self._idl.tables["Domain"]
            own = next(iter(table.rows.values()), None)
            _set(own or txn.insert(table), name=self._domain, **self._announced)

    def _finish_writing(self) -> None:
        """See what has become of the transaction under way; what failed for the moment stays to be written."""
        assert self._writing is not None
        txn, wanted = self._writing
        status = txn.commit()
        if status == txn.INCOMPLETE:
            return
        self._writing = None
        if status == txn.TRY_AGAIN:
            return
        if status == txn.ERROR:
            LOG.warning("the store at %s refuses what is written back: %s", self._remotes, txn.get_error())
        with self._lock:
            self._standings = {key: each for key, each in self._standings.items() if wanted.get(key) is not each}
