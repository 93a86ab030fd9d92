"""Puts the parts of a controller together and runs them until a signal: `run` is the whole life of the process."""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Protocol

from controller import app, notify, rest
from controller.domain import Domain
from controller.errors import CannotRun, RtvnicError
from controller.events import (
    AskContents,
    AskMeters,
    AskQueues,
    AskShim,
    ChannelsTold,
    Command,
    Event,
    Follow,
    Send,
    SetQueues,
    SetShim,
    Tell,
)
from controller.loop import DomainLoop
from controller.model import Channel, Endpoint, Network
from controller.peers import Peers
from controller.runtime import shim_socket
from controller.shim_link import ShimLink
from controller.switches import Switches
from controller.tolerance import leniency_ns

LOG = logging.getLogger(__name__)
BACKLOG = 64
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
Post = Callable[[Event], None]


class Queues(Protocol):
    """What keeps the queues of the domain's switches."""

    def start(self) -> None: ...
    def set_channels(self, channels: Mapping[str, Channel]) -> None: ...


def run(
    network: Network,
    name: str,
    on_ready: Callable[[], None],
    make_queues: Callable[[Post], Queues],
    read_again: Callable[[], Network],
) -> None:
    """Run the controller of the domain `name` until SIGINT or SIGTERM; `on_ready` when it listens. Raises CannotRun.

    At each SIGHUP the channels of the network that `read_again` returns take the place of those before.
    """
    endpoint = network.hypervisors[name].controller
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    openflow_listener = listen_at(endpoint, endpoint.openflow_port, "OpenFlow")
    rest_listener = listen_at(endpoint, endpoint.rest_port, "REST")
    controller = Controller(Domain(network, name), make_queues)
    server = rest.RestServer(rest.api(controller.loop, endpoint), rest_listener)
    controller.start()
    controller.loop.post(ChannelsTold(network.channels, leniency_ns(network)))
    app.start(controller.switches)
    app.listen(openflow_listener)
    server.start()
    on_ready()
    notify.tell(notify.READY)
    notify.keep_alive(lambda: controller.loop.ask(lambda _: True))
    while signal.sigwait(SIGNALS) is signal.SIGHUP:
        notify.tell(notify.reloading())
        _apply_again(network, read_again, controller.loop.post)
        notify.tell(notify.READY)
    notify.tell(notify.STOPPING)
    server.stop()


def _apply_again(network: Network, read_again: Callable[[], Network], post: Post) -> None:
    """Have the channels as they are now; where that cannot be, say why and leave all as it is."""
    try:
        found = read_again()
    except RtvnicError as error:
        LOG.error("all stays as it is: %s", error)
        return
    if replace(found, channels=network.channels) != network:
        what = "more than channels has changed, or `be_slack: auto` has"
        LOG.error("all stays as it is: %s: %s; restart the controller", network.file, what)
        return
    post(ChannelsTold(found.channels, leniency_ns(found)))
    LOG.info("%s is applied again", network.file)


class Controller:
    """A domain with the threads around it."""

    def __init__(self, domain: Domain, make_queues: Callable[[Post], Queues]) -> None:
        network, name = domain.network, domain.name
        self.loop = DomainLoop(domain, self._perform)
        self.switches = Switches(network, name, self.loop.post)
        self._queues = make_queues(self.loop.post)
        urls = {domain: hypervisor.controller.rest_url for domain, hypervisor in network.hypervisors.items()}
        self._peers = Peers(urls, self.loop.post)
        self._shim = ShimLink(shim_socket(name), self.loop.post)

    def start(self) -> None:
        self.loop.start()
        self._shim.start()
        self._queues.start()

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
            case Tell(what, is_trouble):
                LOG.log(logging.WARNING if is_trouble else logging.INFO, "%s", what)


def end_process() -> None:
    """End the process although threads of os-ken still wait: they would wait for ever, and they hold nothing."""
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):
            stream.flush()
    os._exit(0)


def listen_at(endpoint: Endpoint, port: int, what: str) -> socket.socket:
    """A listener for `what` at `port` of the address of `endpoint`. Raises CannotRun."""
    family = socket.AF_INET6 if ":" in endpoint.address else socket.AF_INET
    try:
        return socket.create_server((endpoint.address, port), family=family, backlog=BACKLOG)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        cure = "end what listens there (ss -ltnp names it), or choose another port in the topology file"
        raise CannotRun(f"cannot listen for {what} at {endpoint.address}:{port}: {reason}", cure) from error
