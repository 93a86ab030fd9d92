"""A controller's side of the channel store: follows its domain's channels, says how their ends stand, asks for changes.

Guarantee: an empty store gets the channels of the topology file, once; whatever it has later is what counts. A store of
another topology, or one that is gone, changes nothing that is installed. `change` may be called from any thread and
waits for the store; all else returns at once.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable

from controller.domain.events import ChannelsTold, Event, Standing
from controller.errors import AnswerIsNo, CannotRun
from controller.model import Network, TlsFiles
from controller.store.client import Store, Watch
from controller.store.decisions import Clerk, Decision, differences, digest
from controller.store.records import (
    NO_JITTER_NS,
    Change,
    ChannelsRead,
    Snapshot,
    StoreBack,
    StoreEvent,
    StoreGone,
)

LOG = logging.getLogger(__name__)
RETRY_S = 0.5

ANOTHER_TOPOLOGY = (
    "it belongs to another topology; bring it this one with `rtvnic apply FILE --new-topology`, or start all "
    "controllers with the file that it was made for"
)


class StoreLink:
    """The store at `remotes`, for the controller of `domain`; what it tells becomes events for `post`."""

    def __init__(
        self,
        network: Network,
        domain: str,
        remotes: str,
        post: Callable[[Event], None],
        tls: TlsFiles | None = None,
        is_admission_asked: bool = True,
    ) -> None:
        self.clerk = Clerk(network, is_admission_asked)
        self._network = network
        self._domain = domain
        self._topology = digest(network)
        self._is_of_another_topology = False
        self._post = post
        self._store = Store(remotes, network.classes, tls)
        self._watch = Watch(remotes, domain, network.classes, self._hear, tls)

    def start(self) -> None:
        self._watch.start()
        threading.Thread(target=self._fill, name="first channels", daemon=True).start()

    def change(self, decision: Decision) -> Snapshot:
        """Have the store take what `decision` makes of it. Raises what the decision raises, and CannotRun."""
        return self._store.change(decision)

    def read(self) -> Snapshot:
        """All that the store has. Raises CannotRun."""
        return self._store.read()

    def tell(self, standings: Iterable[Standing]) -> None:
        """Write back how ends of channels stand."""
        for each in standings:
            self._watch.write_standing(each.channel, each.role, each.state, each.why, each.version)

    def announce(self, peers: Iterable[str]) -> None:
        """Write where the domain's controller answers, and with which domains it shares channels."""
        self._watch.announce(self._network.hypervisors[self._domain].controller.rest_url, sorted(peers))

    def _fill(self) -> None:
        """Give an empty store the channels of the file, as soon as it answers."""
        while True:
            try:
                self._note_differences(self.change(self._first))
                return
            except CannotRun as error:
                LOG.debug("%s", error)
                time.sleep(RETRY_S)
            except AnswerIsNo as error:
                LOG.error("the channels of %s do not go into the store: %s", self._network.file, error)
                return

    def _first(self, before: Snapshot) -> Change | None:
        return None if before.topology else self.clerk.apply(self._network.channels)(before)

    def _note_differences(self, found: Snapshot) -> None:
        """Say when the store is not what the file says: `rtvnic apply` would make it so."""
        if not differences(found, self._network.channels).is_empty:
            LOG.info(
                "the store keeps other channels than %s; `rtvnic apply` makes it follow the file", self._network.file
            )

    def _hear(self, event: StoreEvent) -> None:
        match event:
            case ChannelsRead(snapshot):
                self._hear_channels(snapshot)
            case StoreBack() if self._is_of_another_topology:
                self._post(StoreGone(ANOTHER_TOPOLOGY))
            case StoreGone() | StoreBack():
                self._post(event)

    def _hear_channels(self, snapshot: Snapshot) -> None:
        if not snapshot.topology:
            return  # nobody has filled it yet
        self._is_of_another_topology = snapshot.topology != self._topology
        self._post(StoreGone(ANOTHER_TOPOLOGY) if self._is_of_another_topology else told(snapshot))


def told(snapshot: Snapshot) -> ChannelsTold:
    """What a store says to the controller of a domain."""
    return ChannelsTold(
        channels={name: record.channel for name, record in snapshot.records.items()},
        jitter_ns=None if snapshot.jitter_ns == NO_JITTER_NS else snapshot.jitter_ns,
        bounds=snapshot.bounds,
        slacks_ns=snapshot.slacks,
        versions={name: record.version for name, record in snapshot.records.items()},
        owners={name: str(record.owner) for name, record in snapshot.records.items()},
    )
