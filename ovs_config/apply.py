"""Make a bridge's plan true, as a difference, and take everything away again.

Guarantee: applying twice changes nothing the second time; what others made stays. Blocks for up to some seconds while
Open vSwitch follows; any thread, one at a time.
"""

from __future__ import annotations

from pyroute2 import IPRoute

from ovs_config.filters import add_missing_filters, remove_qdisc, remove_unplanned_filters
from ovs_config.links import apply_links, remove_links
from ovs_config.ovsdb import Ovsdb, apply_rows, remove_rows, shaped_interfaces
from ovs_config.plan import BridgePlan


def apply(plan: BridgePlan, ovsdb: Ovsdb) -> list[str]:
    """Returns the changes made, for people to read; empty where all was as planned. Raises CannotRun."""
    with IPRoute() as ip:
        changes = apply_links(ip, plan)
        changes += remove_unplanned_filters(ip, plan)
        changes += apply_rows(ovsdb, plan)
        changes += add_missing_filters(ip, plan)
    return changes


def remove(plan: BridgePlan, ovsdb: Ovsdb) -> list[str]:
    """Remove what `apply` made of `plan`, and nothing else. Returns what was removed."""
    return _remove(ovsdb, plan)


def remove_all(ovsdb: Ovsdb) -> list[str]:
    """Remove every bridge, row, queue and interface that RTvNIC made, and nothing else. Returns what was removed."""
    return _remove(ovsdb, None)


def _remove(ovsdb: Ovsdb, plan: BridgePlan | None) -> list[str]:
    owner = plan.name if plan else None
    with IPRoute() as ip:
        shaped = shaped_interfaces(ovsdb, owner)
        removed = remove_rows(ovsdb, owner)
        try:
            ovsdb.wait_for_vswitchd()
        finally:
            for interface in shaped:
                remove_qdisc(ip, interface)
            removed += remove_links(ip, plan)
    return removed
