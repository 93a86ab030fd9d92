"""Keeps the queue filters of a domain's ports: Open vSwitch drops them whenever it builds a qdisc anew.

Guarantee: adds what its plans ask for and is not there, and touches nothing else; tries the queues of a port (`probe`)
when all its filters are there, and again after each repair. A port that is not there yet is waited for in silence.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from enum import StrEnum

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from controller.events import Proof, QueuesProbed
from controller.model import Network
from ovs_config.filters import add_possible_filters, classes_of, has_queues, missing_filters
from ovs_config.links import index_of, is_of_another_run
from ovs_config.plan import BridgePlan, DatapathType, PortPlan, plan_bridge
from ovs_config.probe import probe_port

LOG = logging.getLogger(__name__)
PERIOD_S = 2.0

Post = Callable[[QueuesProbed], None]


class Standing(StrEnum):
    """What there is at a port."""

    NOTHING = "no interface"
    NO_QUEUES = "no queues"
    NO_FILTERS = "queues without all filters"
    COMPLETE = "queues and filters"


def start(network: Network, domain: str, post: Post) -> None:
    """Keep the filters of `domain` in a thread of its own, for good; `post` hears what the queues are worth."""

    def run() -> None:
        plans = [plan_bridge(network, bridge, DatapathType.NETDEV) for bridge in network.bridges_of(domain)]
        keepers = [Keeper(plan, post) for plan in plans]
        while True:
            for keeper in keepers:
                keeper.look()
            time.sleep(PERIOD_S)

    threading.Thread(target=run, name="queue keeper", daemon=True).start()


class Keeper:
    """Keeps the filters of one bridge. One thread at a time."""

    def __init__(self, plan: BridgePlan, post: Post) -> None:
        self._plan = plan
        self._post = post
        self._last: dict[str, Standing] = {}
        self._probed: dict[str, Standing] = {}
        self._troubles = ["", ""]
        self._told = ""

    def look(self) -> None:
        """One round: add what is missing, then try the queues of the ports that have changed."""
        trouble = ""
        try:
            with IPRoute() as ip:
                self._look(ip)
        except (NetlinkError, OSError) as error:
            trouble = str(error)
        self._tell(trouble)

    def _look(self, ip: IPRoute) -> None:
        ports = [port for port in self._plan.ports if port.qos and not is_of_another_run(ip, port.interface)]
        plan = replace(self._plan, ports=tuple(ports))
        try:
            self._repair(ip, plan)
        finally:
            self._probe(ip, plan)

    def _repair(self, ip: IPRoute, plan: BridgePlan) -> None:
        missing = missing_filters(ip, plan)
        added = add_possible_filters(ip, plan) if missing else []
        if added:
            LOG.warning("%s", "; ".join(added))
            for each in missing:
                self._probed.pop(each.interface, None)

    def _probe(self, ip: IPRoute, plan: BridgePlan) -> None:
        """Try each port that has changed since it was tried; what is incomplete may be so for a moment only."""
        incomplete = {each.interface for each in missing_filters(ip, plan)}
        proofs: dict[tuple[int, int], Proof] = {}
        for port in plan.ports:
            standing = _standing(ip, port, port.interface in incomplete)
            is_settled = standing in (Standing.COMPLETE, self._last.get(port.interface))
            self._last[port.interface] = standing
            if port.qos and is_settled and standing != self._probed.get(port.interface, Standing.NOTHING):
                found = probe_port(ip, port.interface, port.qos)
                if standing is not Standing.COMPLETE or Proof.NOT_PROVED not in found.values():
                    self._probed[port.interface] = standing  # else best effort may have hidden that they work
                proofs |= {(port.number, queue_id): proof for queue_id, proof in found.items()}
        if proofs:
            self._post(QueuesProbed(plan.name, proofs))

    def _tell(self, trouble: str) -> None:
        """Log what has gone wrong twice running, once."""
        self._troubles = [self._troubles[-1], trouble]
        if trouble and self._troubles[0] == trouble != self._told:
            LOG.warning("the queue filters of %s cannot be kept: %s", self._plan.name, trouble)
            self._told = trouble


def _standing(ip: IPRoute, port: PortPlan, is_incomplete: bool) -> Standing:
    if index_of(ip, port.interface) is None:
        return Standing.NOTHING
    if port.qos is None or not has_queues(classes_of(ip, port.interface), port.qos):
        return Standing.NO_QUEUES
    return Standing.NO_FILTERS if is_incomplete else Standing.COMPLETE
