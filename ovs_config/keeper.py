"""Keeps the queues of a domain's ports as its channels ask for, and their filters, which Open vSwitch drops whenever it
builds a qdisc anew.

Guarantee: changes what differs from its plans, and nothing that others made; has a qdisc built anew that somebody has
removed; tries the queues of a port (`probe`) when all its filters are there, and again after each repair. A port that
Open vSwitch does not have yet is waited for in silence; one that is down holds up no other.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from enum import StrEnum

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from controller.domain.events import Proof, QueuesProbed
from controller.errors import CannotRun
from controller.model import Channel, Network
from controller.runtime import RUN_DIR
from ovs_config.filters import add_possible_filters, classes_of, has_queues, missing_filters
from ovs_config.links import index_of, is_of_another_run
from ovs_config.openvswitch import local_db_socket
from ovs_config.ovsdb import Ovsdb, apply_queues, connect, rebuild_queues, shaped_interfaces
from ovs_config.plan import BridgePlan, DatapathType, PortPlan, plan_bridge
from ovs_config.probe import probe_port

LOG = logging.getLogger(__name__)
PERIOD_S = 1.0
SETTLE_S = 0.1
"""Open vSwitch does nothing else while it changes queues: flows of new channels go first, and channels that come at
once are one change."""

Post = Callable[[QueuesProbed], None]


class Standing(StrEnum):
    """What there is at a port."""

    NOTHING = "no interface"
    NO_QUEUES = "no queues"
    NO_FILTERS = "queues without all filters"
    COMPLETE = "queues and filters"


class QueueKeeper:
    """Keeps the queues of `domain` in a thread of its own, for good; `post` hears what they are worth.

    It does nothing before it has been told the channels.
    """

    def __init__(self, network: Network, domain: str, post: Post) -> None:
        self._network = network
        self._keepers = [Keeper(bridge, post) for bridge in network.bridges_of(domain)]
        self._channels: Mapping[str, Channel] | None = None
        self._word = threading.Event()
        self._trouble = ""

    def start(self) -> None:
        threading.Thread(target=self._run, name="queue keeper", daemon=True).start()

    def set_channels(self, channels: Mapping[str, Channel]) -> None:
        """Have the queues follow `channels`. Any thread; returns at once."""
        self._channels = channels
        self._word.set()

    def _run(self) -> None:
        self._word.wait()
        while True:
            try:
                with connect(local_db_socket(RUN_DIR)) as ovsdb:
                    self._trouble = ""
                    self._keep(ovsdb)
            except CannotRun as error:
                if str(error) != self._trouble:
                    LOG.warning("the queues cannot be kept: %s", error)
                self._trouble = str(error)
            except Exception:
                LOG.exception("the queues are looked at anew")
            time.sleep(PERIOD_S)

    def _keep(self, ovsdb: Ovsdb) -> None:
        channels = None
        while True:
            if channels is not self._channels:
                channels = self._channels
                network = replace(self._network, channels=channels or {})
                for keeper in self._keepers:
                    keeper.plan = plan_bridge(network, keeper.bridge, DatapathType.NETDEV)
            for keeper in self._keepers:
                keeper.look(ovsdb)
            if self._word.wait(PERIOD_S):
                time.sleep(SETTLE_S)
            self._word.clear()


class Keeper:
    """Keeps the queues of one bridge as `plan` says. One thread at a time."""

    def __init__(self, bridge: str, post: Post) -> None:
        self.bridge = bridge
        self.plan: BridgePlan | None = None
        self._post = post
        self._last: dict[str, Standing] = {}
        self._probed: dict[str, Standing] = {}
        self._troubles = ["", ""]
        self._told = ""

    def look(self, ovsdb: Ovsdb) -> None:
        """One round: change what differs, then try the queues of the ports that have changed."""
        trouble = ""
        try:
            with IPRoute() as ip:
                self._look(ip, ovsdb)
        except (NetlinkError, OSError, CannotRun) as error:
            trouble = str(error)
        self._tell(trouble)

    def _look(self, ip: IPRoute, ovsdb: Ovsdb) -> None:
        assert self.plan is not None, "it is set before the first look"
        ports = [port for port in self.plan.ports if port.qos and not is_of_another_run(ip, port.interface)]
        plan = replace(self.plan, ports=tuple(ports))
        if changes := apply_queues(ovsdb, plan):
            LOG.info("%s", "; ".join(changes), extra={"bridge": self.bridge})
        there = shaped_interfaces(ovsdb, self.bridge)
        plan = replace(plan, ports=tuple(port for port in ports if port.interface in there))
        self._last = {interface: standing for interface, standing in self._last.items() if interface in there}
        try:
            self._repair(ip, ovsdb, plan)
        finally:
            self._probe(ip, plan)

    def _repair(self, ip: IPRoute, ovsdb: Ovsdb, plan: BridgePlan) -> None:
        for port in plan.ports:
            has_none = _standing(ip, port, is_incomplete=False) is Standing.NO_QUEUES
            if has_none and self._last.get(port.interface) is Standing.NO_QUEUES:
                self._rebuild(ovsdb, plan, port.interface)
        missing = missing_filters(ip, plan)
        added = add_possible_filters(ip, plan) if missing else []
        if added:
            LOG.warning("%s", "; ".join(added))
            for each in missing:
                self._probed.pop(each.interface, None)

    def _rebuild(self, ovsdb: Ovsdb, plan: BridgePlan, interface: str) -> None:
        """Of a port that has been without queues for two rounds: by then Open vSwitch would have built them."""
        if rebuild_queues(ovsdb, plan, interface):
            LOG.warning("the queues of %s are gone and are built anew", interface)

    def _probe(self, ip: IPRoute, plan: BridgePlan) -> None:
        """Try each port that has changed since it was tried. Raises CannotRun at the end, for those that cannot be."""
        incomplete = {each.interface for each in missing_filters(ip, plan)}
        proofs: dict[tuple[int, int], Proof] = {}
        troubles = []
        for port in plan.ports:
            try:
                found = self._probe_port(ip, port, port.interface in incomplete)
            except (NetlinkError, OSError) as error:
                troubles.append(f"{port.interface}: {error}")
            else:
                proofs |= {(port.number, queue_id): proof for queue_id, proof in found.items()}
        if proofs:
            self._post(QueuesProbed(plan.name, proofs))
        if troubles:
            raise CannotRun(f"no frame can be sent by {', '.join(troubles)}", "is it up? See `ip link`")

    def _probe_port(self, ip: IPRoute, port: PortPlan, is_incomplete: bool) -> Mapping[int, Proof]:
        """What is proved of a port, if it has changed since it was tried; it may be incomplete for a moment only."""
        standing = _standing(ip, port, is_incomplete)
        is_settled = standing in (Standing.COMPLETE, self._last.get(port.interface))
        self._last[port.interface] = standing
        if port.qos is None or not is_settled or standing == self._probed.get(port.interface, Standing.NOTHING):
            return {}
        found = probe_port(ip, port.interface, port.qos)
        if standing is not Standing.COMPLETE or Proof.NOT_PROVED not in found.values():
            self._probed[port.interface] = standing  # else best effort may have hidden that they work
        return found

    def _tell(self, trouble: str) -> None:
        """Log what has gone wrong twice running, once."""
        self._troubles = [self._troubles[-1], trouble]
        if trouble and self._troubles[0] == trouble != self._told:
            LOG.warning("the queues of %s cannot be kept: %s", self.bridge, trouble, extra={"bridge": self.bridge})
            self._told = trouble


def _standing(ip: IPRoute, port: PortPlan, is_incomplete: bool) -> Standing:
    if index_of(ip, port.interface) is None:
        return Standing.NOTHING
    if port.qos is None or not has_queues(classes_of(ip, port.interface), port.qos):
        return Standing.NO_QUEUES
    return Standing.NO_FILTERS if is_incomplete else Standing.COMPLETE
