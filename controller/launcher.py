"""Puts the parts of a controller together and runs them until a signal: `run` is the whole life of the process."""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from controller import app, rest
from controller.counts_file import CountsFile
from controller.domain import Domain
from controller.errors import CannotRun
from controller.events import (
    AskContents,
    AskMeters,
    AskQueues,
    AskShim,
    Command,
    Event,
    Follow,
    KeepCounts,
    Send,
    SetQueues,
    SetShim,
    Tell,
    WriteBack,
)
from controller.loop import DomainLoop
from controller.model import Channel, Endpoint, Network
from controller.peers import Peers
from controller.runtime import counts_file, shim_socket
from controller.shim_link import ShimLink
from controller.store.link import StoreLink
from controller.store.remotes import Tls
from controller.switches import Switches

LOG = logging.getLogger(__name__)
BACKLOG = 64
SIGNALS = (signal.SIGINT, signal.SIGTERM)
Post = Callable[[Event], None]


class Queues(Protocol):
    """What keeps the queues of the domain's switches."""

    def start(self) -> None: ...
    def set_channels(self, channels: Mapping[str, Channel]) -> None: ...


@dataclass(frozen=True)
class StoreAddress:
    """Where the channel store answers, and with which files; what it takes if `is_admission_asked` is false: all."""

    remotes: str
    tls: Tls | None = None
    is_admission_asked: bool = True


def run(
    network: Network,
    name: str,
    store: StoreAddress,
    on_ready: Callable[[], None],
    make_queues: Callable[[Post], Queues],
) -> None:
    """Run the controller of the domain `name` until SIGINT or SIGTERM; `on_ready` when it listens. Raises CannotRun."""
    endpoint = network.hypervisors[name].controller
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    openflow_listener = _listener(endpoint, endpoint.openflow_port, "OpenFlow")
    rest_listener = _listener(endpoint, endpoint.rest_port, "REST")
    controller = Controller(network, name, store, make_queues)
    server = rest.RestServer(rest.api(controller.loop, endpoint), rest_listener)
    controller.start()
    app.start(controller.switches)
    app.listen(openflow_listener)
    server.start()
    on_ready()
    signal.sigwait(SIGNALS)
    server.stop()


class Controller:
    """A domain with the threads around it."""

    def __init__(self, network: Network, name: str, store: StoreAddress, make_queues: Callable[[Post], Queues]) -> None:
        self._counts = CountsFile(counts_file(name))
        self.loop = DomainLoop(Domain(network, name, self._counts.read()), self._perform)
        self.store = StoreLink(network, name, store.remotes, self.loop.post, store.tls, store.is_admission_asked)
        self.switches = Switches(network, name, self.loop.post)
        self._queues = make_queues(self.loop.post)
        urls = {domain: hypervisor.controller.rest_url for domain, hypervisor in network.hypervisors.items()}
        self._peers = Peers(urls, self.loop.post)
        self._shim = ShimLink(shim_socket(name), self.loop.post)

    def start(self) -> None:
        self.loop.start()
        self._shim.start()
        self._queues.start()
        self.store.start()

    def _perform(self, command: Command) -> None:
        match command:
            case Send() | AskContents() | AskQueues() | AskMeters():
                self.switches.order(command)
            case SetShim(revision, settings):
                self._shim.set(revision, settings)
            case AskShim():
                self._shim.ask()
            case SetQueues(channels):
                self._queues.set_channels(channels)
            case Follow(domains):
                self._peers.follow(domains)
                self.store.announce(domains)
            case WriteBack(standings):
                self.store.tell(standings)
            case KeepCounts(counts):
                self._counts.write(counts)
            case Tell(what, is_trouble):
                LOG.log(logging.WARNING if is_trouble else logging.INFO, "%s", what)


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
