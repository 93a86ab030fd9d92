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
from pathlib import Path
from typing import Protocol

from controller import notify, runtime, tls
from controller.clocks.clock_watch import ClockWatch
from controller.domain.domain import Domain
from controller.domain.events import (
    AskContents,
    AskMeters,
    AskQueues,
    AskShim,
    Command,
    Event,
    Follow,
    HandleMisses,
    KeepCounts,
    Publish,
    ReportMisses,
    Send,
    SetQueues,
    SetShim,
    Tell,
    TellClock,
    TellEnds,
    WatchClock,
    WriteBack,
)
from controller.domain.loop import DomainLoop
from controller.errors import Conflict, RtvnicError
from controller.guests.link import GuestLink
from controller.handlers.threads import Handlers
from controller.listeners import Listeners
from controller.model import Channel, Network, Quota
from controller.openflow import app
from controller.openflow.counts_file import CountsFile
from controller.openflow.switches import Switches
from controller.peering.transport import Peering
from controller.rest import server as rest
from controller.rest.event_stream import EventStream
from controller.rest.gate import Door
from controller.rest.token_file import TokenFile
from controller.rest.writes import Writer
from controller.runtime import counts_file, shim_socket
from controller.shim_link import ShimLink
from controller.store.decisions import Clerk, differences
from controller.store.keeper import StoreKeeper
from controller.store.link import StoreLink

LOG = logging.getLogger(__name__)
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
Post = Callable[[Event], None]


class Queues(Protocol):
    """What keeps the queues of the domain's switches."""

    def start(self) -> None: ...
    def set_channels(self, channels: Mapping[str, Channel]) -> None: ...


@dataclass(frozen=True)
class StoreAddress:
    """Where the channel store answers. Without `remotes` it is one that the controllers of this machine share and keep
    running. Where admission is not asked it takes what the links cannot keep, too."""

    remotes: str = ""
    is_admission_asked: bool = True


def run(
    network: Network,
    name: str,
    listeners: Listeners,
    store: StoreAddress,
    on_ready: Callable[[], None],
    make_queues: Callable[[Post], Queues],
    reload: Callable[[], Network],
    tokens: Path | None = None,
) -> None:
    """Run the controller of the domain `name` until SIGINT or SIGTERM; `on_ready` when it answers. Raises CannotRun.

    At SIGHUP the channels of the network that `reload` reads become the wanted ones, if they are accepted.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    files = network.controller_tls(name)
    context = tls.server_context(files) if files else None
    keeper = None if store.remotes else StoreKeeper(runtime.RUN_DIR)
    controller = Controller(network, name, store, make_queues, listeners.peering)
    servers = _rest_servers(controller, network, name, listeners, tokens)
    if keeper is not None:
        _warn_of_separate_stores(network, name)
        keeper.start()
    controller.start()
    app.start(controller.switches)
    app.listen(listeners.openflow, context)
    for server in servers:
        server.start()
    on_ready()
    notify.tell(notify.READY)
    notify.keep_alive(lambda: controller.loop.ask(lambda _: True))
    while signal.sigwait(SIGNALS) is signal.SIGHUP:
        notify.tell(notify.reloading())
        controller.apply(reload)
        notify.tell(notify.READY)
    notify.tell(notify.STOPPING)
    controller.stream.close()
    for server in servers:
        server.stop()
    if keeper is not None:
        keeper.stop()


def _rest_servers(
    controller: Controller, network: Network, name: str, listeners: Listeners, tokens: Path | None
) -> tuple[rest.RestServer, rest.RestServer]:
    """At the endpoint that the file gives, and at a Unix socket for this machine's root.

    Beyond this machine with TLS; a file with such an address and without `tls` is refused.
    """
    endpoint = network.hypervisors[name].controller
    writer = Writer(network, controller.store)
    door = Door(is_distant=endpoint.is_distant, tokens=TokenFile(tokens) if tokens else None)
    read = controller.handlers.read
    outer = rest.api(controller.loop, writer, controller.stream, endpoint, door, read)
    inner = rest.api(controller.loop, writer, controller.stream, endpoint, Door(is_private=True), read)
    files = network.controller_tls(name) if endpoint.is_distant else None
    return rest.RestServer(outer, listeners.rest, files), rest.RestServer(inner, listeners.private_rest)


class Controller:
    """A domain with the threads around it."""

    def __init__(
        self,
        network: Network,
        name: str,
        store: StoreAddress,
        make_queues: Callable[[Post], Queues],
        peering_listener: socket.socket | None = None,
    ) -> None:
        self._network = network
        self._counts = CountsFile(counts_file(name))
        self.stream = EventStream()
        self.loop = DomainLoop(Domain(network, name, self._counts.read()), self._perform)
        self._is_admission_asked = store.is_admission_asked
        remotes = store.remotes or f"unix:{runtime.STORE_SOCKET}"
        tls_files = network.controller_tls(name)
        self.store = StoreLink(network, name, remotes, self.loop.post, tls_files, store.is_admission_asked)
        self._guests = GuestLink(network, name, self.loop, self.store)
        self.switches = Switches(network, name, self.loop.post, self._guests.hear)
        self._queues = make_queues(self.loop.post)
        self._peering = Peering(network, name, peering_listener, self.loop.post)
        self._shim = ShimLink(shim_socket(name), self.loop.post)
        self.handlers = Handlers(network, name)
        self._clock = ClockWatch(self.loop.post)

    def start(self) -> None:
        self.handlers.start()
        self.loop.start()
        self._shim.start()
        self._peering.start()
        self._clock.start()
        self._queues.start()
        self.store.start()
        self._guests.start(self.switches.send_packet)

    def apply(self, read: Callable[[], Network]) -> None:
        """Have the store take the channels of the network that `read` returns; the log says what came of it."""
        try:
            network = read()
            self._require_sameness(network)
            before = self.store.read()
            self.store.change(Clerk(network, self._is_admission_asked).apply(network.channels))
        except RtvnicError as error:
            LOG.error("all stays as it is: %s", error)
            return
        found = differences(before, network.channels)
        counts = len(found.added), len(found.changed), len(found.removed)
        LOG.info("%s was applied: %d channels added, %d changed, %d removed", network.file, *counts)

    def _require_sameness(self, network: Network) -> None:
        """What a controller that runs has read of its file besides channels stays what it is. The rest of the topology
        is the store's to compare."""
        before = self._network
        parts = {
            "the handlers of misses": (before.handlers, network.handlers),
            "quotas of VMs": (_quotas(before), _quotas(network)),
            "tls": (before.tls_directory, network.tls_directory),
        }
        if changed := [what for what, (was, wanted) in parts.items() if was != wanted]:
            raise Conflict(f"{network.file} differs in {', '.join(changed)}; restart the controller")

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
                self._peering.follow(domains)
                self.store.announce(domains)
            case TellEnds(domain, ends, is_all):
                self._peering.tell_ends(domain, ends, is_all)
            case WatchClock(is_wanted):
                self._clock.want(is_wanted)
            case TellClock(domain, clock):
                self._peering.tell_clock(domain, clock)
            case ReportMisses(domain, reports):
                self._peering.report(domain, reports)
            case HandleMisses(channel, report):
                self.handlers.handle(channel, report)
                self._guests.tell_misses(channel, report)
            case WriteBack(standings):
                self.store.tell(standings)
            case KeepCounts(counts):
                self._counts.write(counts)
            case Publish(notices):
                self.stream.publish(notices)
            case Tell(what, is_trouble):
                LOG.log(logging.WARNING if is_trouble else logging.INFO, "%s", what)


def _quotas(network: Network) -> Mapping[str, Quota | None]:
    return {name: vm.quota for name, vm in network.vms.items()}


def _warn_of_separate_stores(network: Network, name: str) -> None:
    if others := network.beyond_machine(name):
        LOG.warning(
            "the channel store is this machine's own, and the controllers of other machines (%s) know nothing of it; "
            "give all controllers one, with --store",
            ", ".join(others),
        )


def end_process() -> None:
    """End the process although threads of os-ken still wait: they would wait for ever, and they hold nothing."""
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):
            stream.flush()
    os._exit(0)
