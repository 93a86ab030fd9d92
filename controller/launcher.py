"""Puts the parts of a controller together and runs them until a signal: `run` is the whole life of the process."""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import suppress

from controller import app, rest, shim_link, tls
from controller.domain import Domain
from controller.errors import CannotRun
from controller.events import AskFlows, AskMeters, AskQueues, AskShim, Command, Event, Send, Tell
from controller.loop import DomainLoop
from controller.model import Endpoint, Network
from controller.peers import PeerLink
from controller.runtime import shim_socket
from controller.shim_link import ShimLink
from controller.switches import Switches

LOG = logging.getLogger(__name__)
BACKLOG = 512
SIGNALS = (signal.SIGINT, signal.SIGTERM)
Post = Callable[[Event], None]


def run(network: Network, name: str, on_ready: Callable[[], None], on_start: Callable[[Post], None]) -> None:
    """Run the controller of the domain `name` until SIGINT or SIGTERM; `on_ready` when it listens. Raises CannotRun.

    `on_start` may start more threads that tell the domain of events.
    """
    endpoint = network.hypervisors[name].controller
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    files = network.controller_tls(name)
    context = tls.server_context(files) if files else None
    openflow_listener = _listener(endpoint, endpoint.openflow_port, "OpenFlow")
    rest_listener = _listener(endpoint, endpoint.rest_port, "REST")
    controller = Controller(Domain(network, name))
    server = rest.RestServer(rest.api(controller.loop, endpoint), rest_listener)
    controller.start()
    app.start(controller.switches)
    app.listen(openflow_listener, context)
    on_start(controller.loop.post)
    server.start()
    on_ready()
    signal.sigwait(SIGNALS)
    server.stop()


class Controller:
    """A domain with the threads around it."""

    def __init__(self, domain: Domain) -> None:
        network, name = domain.network, domain.name
        self.loop = DomainLoop(domain, self._perform)
        self.switches = Switches(network, name, self.loop.post)
        urls = {peer: network.hypervisors[peer].controller.rest_url for peer in domain.peers}
        self._peers = [PeerLink(peer, url, self.loop.post) for peer, url in urls.items()]
        self._shim: ShimLink | None = None
        if domain.has_shim:
            self._shim = ShimLink(shim_socket(name), shim_link.settings(network, name), self.loop.post)

    def start(self) -> None:
        self.loop.start()
        for peer in self._peers:
            peer.start()
        if self._shim is not None:
            self._shim.start()

    def _perform(self, command: Command) -> None:
        match command:
            case Send() | AskFlows() | AskQueues() | AskMeters():
                self.switches.order(command)
            case AskShim():
                assert self._shim is not None, "only a shim that is ready is asked"
                self._shim.ask()
            case Tell():
                LOG.log(logging.WARNING if command.is_trouble else logging.INFO, "%s", command.what)


def end_process() -> None:
    """End the process although threads of os-ken still wait: they would wait for ever, and they hold nothing."""
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):
            stream.flush()
    os._exit(0)


def _listener(endpoint: Endpoint, port: int, what: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in endpoint.address else socket.AF_INET
    try:
        return socket.create_server((endpoint.address, port), family=family, backlog=BACKLOG)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        cure = "end what listens there (ss -ltnp names it), or choose another port in the topology file"
        raise CannotRun(f"cannot listen for {what} at {endpoint.address}:{port}: {reason}", cure) from error
