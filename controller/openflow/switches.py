"""The switches that are connected now: who they are in the topology file, and the sender of each.

os-ken's threads and the domain's call it; a lock guards the table, nothing else is shared.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

from controller.domain.events import (
    AskContents,
    AskMeters,
    AskQueues,
    Event,
    Send,
    SwitchConnected,
    SwitchGone,
)
from controller.model import Network
from controller.openflow import messages
from controller.openflow.sender import Sender

LOG = logging.getLogger(__name__)
STRANGERS_MAX = 1000
"""Remembered, so that each is told of once; whoever comes after so many is not told of."""


class Switches:
    """The connected switches of the domain `name`. A switch that the file does not give to it is left alone.

    `hear` gets what VMs send to the service: the port of the hypervisor's bridge, and the frame. It must not block.
    """

    def __init__(
        self, network: Network, name: str, post: Callable[[Event], None], hear: Callable[[int, bytes], None]
    ) -> None:
        self._bridge = name
        self._hear = hear
        self._names = {network.datapath_id(bridge): bridge for bridge in network.bridges_of(name)}
        self._post = post
        self._lock = threading.Lock()
        self._senders: dict[str, Sender] = {}
        self._strangers: set[int] = set()

    def connect(self, datapath: Any) -> None:
        """A switch has finished its handshake. A second connection of the same switch takes the place of the first."""
        bridge = self._names.get(datapath.id)
        if bridge is None:
            self._note_stranger(datapath)
            return
        with self._lock:
            former = self._senders.pop(bridge, None)
            self._senders[bridge] = Sender(bridge, datapath, self._post)
        if former is not None:
            former.stop()
        LOG.info("the switch %s is connected", bridge)
        self._post(SwitchConnected(bridge, messages.ports_down(datapath)))

    def disconnect(self, datapath: Any) -> None:
        """The connection of a switch has ended."""
        with self._lock:
            bridge = next((name for name, sender in self._senders.items() if sender.datapath is datapath), None)
            if bridge is None:
                return
            sender = self._senders.pop(bridge)
        sender.stop()
        LOG.warning("the switch %s is gone", bridge)
        self._post(SwitchGone(bridge))

    def sender_of(self, datapath: Any) -> Sender | None:
        with self._lock:
            return next((sender for sender in self._senders.values() if sender.datapath is datapath), None)

    def order(self, order: Send | AskContents | AskQueues | AskMeters) -> None:
        """Have the switch's sender carry out `order`; without a connection it is dropped, for it is sent anew then."""
        with self._lock:
            sender = self._senders.get(order.bridge)
        if sender is not None:
            sender.order(order)

    def take_packet(self, datapath: Any, message: Any) -> None:
        """A switch hands up a packet."""
        sender, found = self.sender_of(datapath), messages.packet_handed_up(message)
        if sender is not None and sender.bridge == self._bridge and found is not None:
            self._hear(*found)

    def send_packet(self, port: int, frame: bytes) -> None:
        """Send `frame` by `port` of the hypervisor's bridge; it is lost where that is not connected."""
        with self._lock:
            sender = self._senders.get(self._bridge)
        if sender is not None:
            sender.send_packet(port, frame)

    def _note_stranger(self, datapath: Any) -> None:
        if datapath.id not in self._strangers and len(self._strangers) < STRANGERS_MAX:
            self._strangers.add(datapath.id)
            LOG.warning("a switch with datapath id %016x is not in the topology file: left alone", datapath.id)
