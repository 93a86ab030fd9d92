"""The OVSDB half of a plan: bridges, ports, QoS and Queue rows, written as a difference in one transaction.

Guarantee: a row that RTvNIC made has `external_ids:rtvnic`; only such rows are changed or removed. Where nothing
differs nothing is sent. One thread of ovsdbapp's reads the database; callers of one Ovsdb take turns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from controller.errors import CannotRun
from controller.model import TlsFiles
from controller.without_eventlet import without_eventlet
from ovs_config.plan import BridgePlan, PortPlan, QosPlan, QueuePlan
from ovs_config.waiting import wait_until

with without_eventlet():
    from ovsdbapp.backend.ovs_idl import command, connection, transaction
    from ovsdbapp.schema.open_vswitch import impl_idl

TAG = "rtvnic"
LASTING = "rtvnic-lasting"
"""In the external_ids of a bridge that is to stay until its owner has it removed: that of `rtvnic bridge`."""
TIMEOUT_S = 10
KEEPALIVE_MS = 1000
_SHARED_COLUMNS = ("external_ids", "other_config")
"""Maps in which others may keep keys of their own."""

_TABLES = ("Open_vSwitch", "Bridge", "Controller", "Port", "Interface", "QoS", "Queue", "SSL")


class Ovsdb(impl_idl.OvsdbIdl):  # type: ignore[misc]
    """A connection to one Open vSwitch database. Make it with `connect`."""

    ovsdb_connection: Any = None  # ovsdbapp would share one connection among all objects of the class

    def create_transaction(self, check_error: bool = False, log_errors: bool = True, **_: Any) -> Any:
        """A transaction that, unlike ovs-vsctl's, writes nothing of its own."""
        return transaction.Transaction(self, self.ovsdb_connection, check_error=check_error, log_errors=log_errors)

    def wait_for_vswitchd(self) -> None:
        """Return when ovs-vswitchd has acted on all that was written so far. Raises CannotRun."""
        if not wait_until(lambda: bool(self._ovs.cur_cfg >= self._ovs.next_cfg), TIMEOUT_S):
            raise CannotRun(f"ovs-vswitchd did not react within {TIMEOUT_S} s", "is it running? Its log says more")


@contextmanager
def connect(db_socket: str) -> Iterator[Ovsdb]:
    """The database behind `db_socket` (`unix:/...`), for the duration of a with block. Raises CannotRun."""
    try:
        idl = connection.OvsdbIdl.from_server(db_socket, "Open_vSwitch", helper_tables=_TABLES)
        ovsdb = Ovsdb(connection.Connection(idl, TIMEOUT_S))
    except Exception as error:  # ovsdbapp raises it bare when it cannot fetch the schema
        raise CannotRun(f"no Open vSwitch database at {db_socket} ({error})", "start Open vSwitch") from error
    try:
        yield ovsdb
    finally:
        ovsdb.ovsdb_connection.stop()


def apply_rows(ovsdb: Ovsdb, plan: BridgePlan) -> list[str]:
    """Make the rows of `plan` true in one transaction and wait for its ports. Returns what was changed."""
    changes = _edit(ovsdb, lambda edit: _apply_bridge(edit, plan))
    ovsdb.wait_for_vswitchd()
    for port in plan.ports:
        _wait_for_port(ovsdb, port)
    return changes


def apply_queues(ovsdb: Ovsdb, plan: BridgePlan) -> list[str]:
    """Make the QoS and Queue rows of the ports that there are of `plan` true. Returns what was changed."""
    return _edit(ovsdb, lambda edit: _apply_queues(edit, plan))


def rebuild_queues(ovsdb: Ovsdb, plan: BridgePlan, interface: str) -> bool:
    """Have Open vSwitch build the qdisc of a port of `plan` anew: it does not see that somebody has removed it.

    False: there is no such port of ours, or it has no queues to build.
    """
    if not _edit(ovsdb, lambda edit: _clear_qos(edit, interface)):
        return False
    ovsdb.wait_for_vswitchd()
    apply_queues(ovsdb, plan)
    return True


def remove_rows(ovsdb: Ovsdb, owner: str | None = None) -> list[str]:
    """Remove every row that RTvNIC made, for the bridge `owner` or for any. Returns what was removed."""
    return _edit(ovsdb, lambda edit: _remove_tagged(edit, owner))


def lasting_bridges(ovsdb: Ovsdb) -> list[str]:
    """The bridges that no test bed may remove."""
    with ovsdb.ovsdb_connection.lock:
        bridges = ovsdb.tables["Bridge"].rows.values()
        return sorted(bridge.name for bridge in bridges if LASTING in bridge.external_ids)


def shaped_interfaces(ovsdb: Ovsdb, owner: str | None = None) -> list[str]:
    """The interfaces to which Open vSwitch gives a qdisc of ours, for the bridge `owner` or for any."""
    with ovsdb.ovsdb_connection.lock:
        ports = ovsdb.tables["Port"].rows.values()
        return [port.name for port in ports if any(_is_tagged(qos, owner) for qos in port.qos)]


def _is_tagged(row: Any, owner: str | None) -> bool:
    return TAG in row.external_ids and owner in (None, row.external_ids[TAG])


class _Edit:
    """One transaction in the making: finds rows, writes what differs and notes it in `changes`.

    `kept` holds every row that `ensure` returned.
    """

    def __init__(self, ovsdb: Ovsdb, txn: Any) -> None:
        self.root = next(iter(ovsdb.tables["Open_vSwitch"].rows.values()))
        self.changes: list[str] = []
        self.kept: list[Any] = []
        self._tables = ovsdb.tables
        self._txn = txn

    def find(self, table: str, name: str) -> Any:
        """The row of that name, or None."""
        return next((row for row in self._tables[table].rows.values() if row.name == name), None)

    def tagged(self, table: str, owner: str | None = None) -> list[Any]:
        """The rows that RTvNIC made, for the bridge `owner` or for any."""
        rows = self._tables[table].rows.values()
        return [row for row in rows if _is_tagged(row, owner)]

    def ensure(self, table: str, row: Any, what: str, **columns: Any) -> Any:
        """`row`, or a new one when it is None, with these columns."""
        created = row is None
        if created:
            row = self._txn.insert(self._tables[table])
            self._note(f"{what}: created")
        for column, wanted in columns.items():
            if self._set(row, column, wanted) and not created:
                self._note(f"{what}: {column} corrected")
        self.kept.append(row)
        return row

    def unlink(self, owner: Any, column: str, row: Any, what: str) -> None:
        """Take `row` out of `owner`: the database drops a bridge or port to which nothing refers."""
        owner.delvalue(column, row)
        self._note(f"{what}: removed")

    def delete(self, row: Any, what: str) -> None:
        """Delete a row that nothing refers to any more."""
        row.delete()
        self._note(f"{what}: removed")

    def _note(self, change: str) -> None:
        if change not in self.changes:  # a port and its interface are two rows, but one thing
            self.changes.append(change)

    @staticmethod
    def _set(row: Any, column: str, wanted: Any) -> bool:
        found = getattr(row, column, None)  # a new row has no columns yet
        if found is not None and column in _SHARED_COLUMNS:
            wanted = {**found, **wanted}
        if found == wanted:
            return False
        setattr(row, column, wanted)
        return True


class _EditCommand(command.BaseCommand):  # type: ignore[misc]
    """Runs an edit inside a transaction of ovsdbapp's; run again from the start when the database changed meanwhile."""

    def __init__(self, ovsdb: Ovsdb, edit: Callable[[_Edit], None]) -> None:
        super().__init__(ovsdb)
        self._edit = edit

    def run_idl(self, txn: Any) -> None:
        edit = _Edit(self.api, txn)
        self._edit(edit)
        if edit.changes:
            edit.root.increment("next_cfg")
        self.result = edit.changes


def _edit(ovsdb: Ovsdb, edit: Callable[[_Edit], None]) -> list[str]:
    try:
        changes: list[str] = _EditCommand(ovsdb, edit).execute(check_error=True, log_errors=False)
    except RuntimeError as error:
        raise CannotRun(f"the Open vSwitch database refused a change ({error})", "its log says more") from error
    return changes


def _apply_bridge(edit: _Edit, plan: BridgePlan) -> None:
    tag = {TAG: plan.name} | ({LASTING: "true"} if plan.is_lasting else {})
    if plan.tls is not None:
        _tls(edit, plan.name, plan.tls)
    found = edit.find("Bridge", plan.name)
    if found is not None and TAG not in found.external_ids:
        raise CannotRun(
            f"the bridge {plan.name} exists and is not ours", f"rename one, or: ovs-vsctl del-br {plan.name}"
        )
    bridge = edit.ensure(
        "Bridge",
        found,
        f"bridge {plan.name}",
        name=plan.name,
        external_ids=tag,
        datapath_type=plan.datapath_type.value,
        fail_mode=["secure"],
        protocols=["OpenFlow13"],
        other_config={"datapath-id": plan.datapath_id},
        controller=[_controller(edit, found, plan)],
    )
    if found is None:
        edit.root.addvalue("bridges", bridge)
    _port(edit, bridge, plan.name, plan.name, qos=[], type="internal")
    for port in plan.ports:
        qos = [] if port.qos is None else [_qos(edit, plan.name, port.interface, port.qos)]
        _port(edit, bridge, plan.name, port.interface, qos, ofport_request=[port.number])
    _drop_unplanned(edit, bridge, plan.name)


def _tls(edit: _Edit, bridge: str, files: TlsFiles) -> None:
    """Who Open vSwitch is and whom it trusts: there is one such row for all that it connects to."""
    found = edit.root.ssl[0] if edit.root.ssl else None
    wanted = {"private_key": files.key, "certificate": files.certificate, "ca_cert": files.authority}
    columns = {column: str(file.absolute()) for column, file in wanted.items()}
    if found is not None and TAG not in found.external_ids:
        if all(getattr(found, column) == value for column, value in columns.items()):
            return
        raise CannotRun(
            "Open vSwitch has TLS settings that are not ours",
            f"have them prove its datapath ids to our authority, or: ovs-vsctl set-ssl {' '.join(columns.values())}",
        )
    others = [name for name in _names_by_tls(edit) if name != bridge]
    if found is not None and others and found.certificate != columns["certificate"]:
        raise CannotRun(
            f"Open vSwitch has one certificate for all, and that is {found.certificate}, of the bridge {others[0]}",
            f"have {bridge} on another machine, or remove that one: rtvnic bridge FILE --domain {others[0]} --remove",
        )
    row = edit.ensure("SSL", found, "TLS settings", external_ids={TAG: ""}, bootstrap_ca_cert=False, **columns)
    if found is None:
        edit.root.ssl = [row]


def _names_by_tls(edit: _Edit) -> list[str]:
    """Our bridges that there will be whose controllers are reached by TLS."""
    ours = [bridge for bridge in edit.root.bridges if _is_tagged(bridge, None)]
    return [bridge.name for bridge in ours if any(each.target.startswith("ssl:") for each in bridge.controller)]


def _drop_unused_tls(edit: _Edit) -> None:
    """Our TLS settings go with the last of our bridges that needs them."""
    if not _names_by_tls(edit):
        for row in edit.tagged("SSL"):
            edit.unlink(edit.root, "ssl", row, "TLS settings")


def _controller(edit: _Edit, bridge: Any, plan: BridgePlan) -> Any:
    found = bridge.controller[0] if bridge is not None and bridge.controller else None
    return edit.ensure(
        "Controller",
        found,
        f"controller of {plan.name}",
        target=plan.controller_target,
        connection_mode=["out-of-band"],
        inactivity_probe=[KEEPALIVE_MS],
        max_backoff=[KEEPALIVE_MS],
    )


def _port(edit: _Edit, bridge: Any, owner: str, name: str, qos: list[Any], **interface_columns: Any) -> None:
    """A port of one interface, both called `name`."""
    found, what = edit.find("Port", name), f"port {name}"
    if found is not None and found not in getattr(bridge, "ports", []):  # a new row has no columns yet
        raise CannotRun(f"{name} is a port of another bridge", f"remove it first: ovs-vsctl del-port {name}")
    interface = edit.ensure("Interface", edit.find("Interface", name), what, name=name, **interface_columns)
    port = edit.ensure("Port", found, what, name=name, interfaces=[interface], external_ids={TAG: owner}, qos=qos)
    if found is None:
        bridge.addvalue("ports", port)


def _qos(edit: _Edit, owner: str, name: str, plan: QosPlan) -> Any:
    port = edit.find("Port", name)
    found = next((row for row in port.qos if TAG in row.external_ids), None) if port is not None else None
    queues = found.queues if found is not None else {}
    return edit.ensure(
        "QoS",
        found,
        f"QoS of {name}",
        type="linux-htb",
        other_config={"max-rate": str(plan.max_rate_bps)},
        external_ids={TAG: owner},
        queues={queue.queue_id: _queue(edit, queues.get(queue.queue_id), owner, name, queue) for queue in plan.queues},
    )


def _queue(edit: _Edit, found: Any, owner: str, name: str, queue: QueuePlan) -> Any:
    return edit.ensure(
        "Queue",
        found,
        f"queue {queue.queue_id} of {name}",
        other_config={
            "min-rate": str(queue.min_rate_bps),
            "max-rate": str(queue.max_rate_bps),
            "priority": str(queue.priority),
            **({"burst": str(8 * queue.burst_bytes)} if queue.burst_bytes else {}),
        },
        external_ids={TAG: owner},
    )


def _apply_queues(edit: _Edit, plan: BridgePlan) -> None:
    for port in plan.ports:
        found = edit.find("Port", port.interface)
        if port.qos is not None and found is not None and TAG in found.external_ids:
            edit.ensure("Port", found, f"port {port.interface}", qos=[_qos(edit, plan.name, port.interface, port.qos)])
    _drop_unused(edit, plan.name, "QoS", "Queue")


def _clear_qos(edit: _Edit, interface: str) -> None:
    port = edit.find("Port", interface)
    if port is not None and TAG in port.external_ids:
        edit.ensure("Port", port, f"port {interface}", qos=[])


def _drop_unplanned(edit: _Edit, bridge: Any, owner: str) -> None:
    """Remove what an earlier plan of this bridge had and the present one has not."""
    for port in edit.tagged("Port", owner):
        if port not in edit.kept:
            port.qos = []
            edit.unlink(bridge, "ports", port, f"port {port.name}")
    _drop_unused(edit, owner, "QoS", "Queue")
    _drop_unused_tls(edit)


def _drop_unused(edit: _Edit, owner: str, *tables: str) -> None:
    for table in tables:
        for row in edit.tagged(table, owner):
            if row not in edit.kept:
                edit.delete(row, f"unused {table} row")


def _remove_tagged(edit: _Edit, owner: str | None) -> None:
    for bridge in edit.tagged("Bridge", owner):
        for port in bridge.ports:
            port.qos = []
        edit.unlink(edit.root, "bridges", bridge, f"bridge {bridge.name}")
    for table in ("QoS", "Queue"):
        for row in edit.tagged(table, owner):
            edit.delete(row, f"{table} row")
    _drop_unused_tls(edit)


def _wait_for_port(ovsdb: Ovsdb, port: PortPlan) -> None:
    """Return when `port` has its number. Raises CannotRun with the reason that Open vSwitch gives."""
    interface = ovsdb.lookup("Interface", port.interface)
    if not wait_until(lambda: interface.ofport == [port.number] and not interface.error, TIMEOUT_S):
        reason = " ".join(interface.error) or f"it has the number {interface.ofport}, not {port.number}"
        raise CannotRun(f"Open vSwitch did not take the port {port.interface}: {reason}", "its log says more")
