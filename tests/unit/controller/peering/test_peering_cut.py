"""Two controllers whose connection is cut without a word while packets come late: what both say of them afterwards."""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace

from support.domains import S, books, domain_of, statistics
from support.http_server import unused_port
from support.networks import two_hypervisors
from support.relay import Relay
from support.waiting import Mailbox, wait_until

from controller.domain.events import (
    Event,
    MissCount,
    Missed,
    ReportMisses,
    ShimReported,
    TellEnds,
)
from controller.model import Endpoint, Network
from controller.peering.transport import Peering
from controller.rest import view

LABEL = two_hypervisors().channels["video"].label


class Controller:
    """A domain and its peering; what both have to say to each other is passed on by `turn`."""

    def __init__(self, network: Network, name: str, listener: socket.socket | None) -> None:
        self.domain = domain_of(network, name)
        self._mailbox = Mailbox()
        self.peering = Peering(network, name, listener, self._mailbox.post)
        self.peering.start()
        self.peering.follow(self.domain.peers)

    def turn(self) -> None:
        while not self._mailbox.is_empty:
            self.hear(self._mailbox.next())

    def hear(self, event: Event) -> None:
        for command in self.domain.handle(event, S):
            match command:
                case TellEnds(domain, ends, is_all):
                    self.peering.tell_ends(domain, ends, is_all)
                case ReportMisses(domain, reports):
                    self.peering.report(domain, reports)

    def miss(self, total: int) -> None:
        """Ten more of `total` were late, says the shim."""
        self.hear(ShimReported(statistics({LABEL: books(missed=total)}, {})))
        self.hear(Missed((), (MissCount(LABEL, 10, 10, 700, 500, 100, total, 99),)))

    def missed(self) -> int | None:
        found = view.channel(self.domain, "video")
        assert found is not None
        return found.missed

    def is_reached(self) -> bool:
        return all(peer.is_reachable for peer in self.domain.peers.values())


def test_totals_agree_after_a_cut_that_nobody_was_told_of() -> None:
    network, real, shown = two_hypervisors(), unused_port(), unused_port()
    right = replace(network.hypervisors["right"], controller=Endpoint("127.0.0.1", 1, 2, shown))
    network = replace(network, hypervisors={**network.hypervisors, "right": right})
    with ExitStack() as stack:
        relay = stack.enter_context(Relay(("127.0.0.1", shown), ("127.0.0.1", real)))
        talker = Controller(network, "left", None)
        stack.callback(talker.peering.stop)
        listener = Controller(network, "right", socket.create_server(("127.0.0.1", real)))
        stack.callback(listener.peering.stop)

        def wait_for(is_so: Callable[[], bool]) -> None:
            def is_so_now() -> bool:
                talker.turn()
                listener.turn()
                return is_so()

            wait_until(is_so_now)

        listener.miss(10)
        wait_for(lambda: talker.is_reached() and talker.missed() == 10)
        relay.hold()
        for total in range(20, 1000, 10):
            listener.miss(total)
        wait_for(lambda: not (talker.is_reached() or listener.is_reached()))
        assert talker.missed() is None, "nobody tells"
        listener.miss(1000)
        relay.release()
        wait_for(lambda: talker.is_reached() and listener.is_reached() and talker.missed() == 1000)
        assert listener.missed() == 1000
        listener.miss(1010)
        wait_for(lambda: talker.missed() == 1010)
        assert talker.domain.heard[-1].report.total_misses == 1010
