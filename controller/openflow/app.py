"""The os-ken app: OpenFlow events in, one call each. And what os-ken leaves to its user: where to listen, what to end.

Three things are not left to os-ken (docs/upstream.md). Its receive loop parses whatever comes: that of `Datapath` has
`frames` look through each message first and hangs up at the first bad one. It waits for ever on the send queue of a
switch that is gone; `Datapath` ends with all of its threads. Its server listens on every address, to as many as come;
`listen` takes its place, and a connection costs one thread until it has said HELLO.
"""

from __future__ import annotations

import logging
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing, suppress
from functools import partial
from typing import Any

from controller.openflow import frames, messages
from controller.openflow.connections import Complaints, Connections, FrameReader, Wire
from controller.openflow.frames import Kind
from controller.openflow.porter import Porter
from controller.openflow.switches import Switches
from controller.tls import SharedTls
from controller.without_eventlet import without_eventlet

with without_eventlet():
    from os_ken import cfg
    from os_ken.base import app_manager
    from os_ken.controller import controller, ofp_event, ofp_handler
    from os_ken.controller.handler import DEAD_DISPATCHER, MAIN_DISPATCHER, set_ev_cls

LOG = logging.getLogger(__name__)
ECHO_INTERVAL_S = 2.0
UNANSWERED_ECHOES_MAX = 2
PORTS_MAX = 4096
SWITCH_INTERVAL_S = 0.0005
"""How long one thread of Python's runs while others wait: by default 5 ms, for each message of each connection."""


class ConnectionRefused(Exception):
    """Why a connection is closed by us."""


class RtvnicApp(app_manager.OSKenApp):  # type: ignore[misc]
    """Hands what the switches say to `switches`."""

    OFP_VERSIONS = (messages.VERSION,)

    def __init__(self, switches: Switches) -> None:
        super().__init__()
        self._switches = switches

    @set_ev_cls(ofp_event.EventOFPStateChange, [MAIN_DISPATCHER, DEAD_DISPATCHER])
    def on_state_change(self, event: Any) -> None:
        if event.state == MAIN_DISPATCHER:
            self._switches.connect(event.datapath)
            if self._switches.sender_of(event.datapath):
                event.datapath.settle()
        else:
            self._switches.disconnect(event.datapath)

    @set_ev_cls(ofp_event.EventOFPBarrierReply, MAIN_DISPATCHER)
    def on_barrier(self, event: Any) -> None:
        if sender := self._switches.sender_of(event.msg.datapath):
            sender.on_barrier(event.msg.xid)

    @set_ev_cls(ofp_event.EventOFPErrorMsg, MAIN_DISPATCHER)
    def on_error(self, event: Any) -> None:
        if sender := self._switches.sender_of(event.msg.datapath):
            sender.on_error(event.msg.xid, messages.error_text(event.msg.type, event.msg.code))

    @set_ev_cls(ofp_event.EventOFPFlowStatsReply, MAIN_DISPATCHER)
    def on_flows(self, event: Any) -> None:
        if sender := self._switches.sender_of(event.msg.datapath):
            sender.on_flows(event.msg)

    @set_ev_cls(ofp_event.EventOFPGroupDescStatsReply, MAIN_DISPATCHER)
    def on_groups(self, event: Any) -> None:
        if sender := self._switches.sender_of(event.msg.datapath):
            sender.on_groups(event.msg)

    @set_ev_cls(ofp_event.EventOFPMeterConfigStatsReply, MAIN_DISPATCHER)
    def on_meter_settings(self, event: Any) -> None:
        if sender := self._switches.sender_of(event.msg.datapath):
            sender.on_meter_settings(event.msg)

    @set_ev_cls(ofp_event.EventOFPMeterStatsReply, MAIN_DISPATCHER)
    def on_meters(self, event: Any) -> None:
        if sender := self._switches.sender_of(event.msg.datapath):
            sender.on_meters(event.msg)

    @set_ev_cls(ofp_event.EventOFPPacketIn, MAIN_DISPATCHER)
    def on_packet(self, event: Any) -> None:
        self._switches.take_packet(event.msg.datapath, event.msg)

    @set_ev_cls(ofp_event.EventOFPPortStatus, MAIN_DISPATCHER)
    def on_port(self, event: Any) -> None:
        if sender := self._switches.sender_of(event.msg.datapath):
            sender.on_port(event.msg.desc)

    @set_ev_cls(ofp_event.EventOFPQueueStatsReply, MAIN_DISPATCHER)
    def on_queues(self, event: Any) -> None:
        if sender := self._switches.sender_of(event.msg.datapath):
            sender.on_queues(event.msg)


class Handshake(ofp_handler.OFPHandler):  # type: ignore[misc]
    """os-ken's handshake without its server."""

    def start(self) -> None:
        app_manager.OSKenApp.start(self)


class Datapath(controller.Datapath):  # type: ignore[misc]
    """A connection, from its HELLO on. It ends with all of its threads, and tells so at once.

    `datapath_ids` are those that its certificate allows; None: any. It must be a switch's by `until_s`.
    """

    def __init__(
        self,
        wire: Wire,
        address: Any,
        reader: FrameReader,
        until_s: float,
        settle: Callable[[int], None],
        datapath_ids: frozenset[int] | None,
    ) -> None:
        self._reader = reader
        self._until_s = until_s
        self._settle = settle
        self._datapath_ids = datapath_ids
        self._has_ended = threading.Event()
        self._is_unreadable_told = False
        self.ports: dict[int, Any] = {}
        super().__init__(wire, address)

    def settle(self) -> None:
        """It is the connection of a switch of the file."""
        self._settle(self.id)

    def hang_up(self) -> None:
        """Have the connection end, and its own thread tell so. Any thread; unlike `close` it waits for no app."""
        self._has_ended.set()
        with suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        super().close()
        self.hang_up()

    def _recv_loop(self) -> None:
        try:
            while frame := self._next():
                self._take(frame)
        finally:
            self.close()
            self.send(b"", close_socket=True)

    def _next(self) -> bytes:
        """The next message; empty when there is none any more."""
        if self._has_ended.is_set():
            return b""
        return self._reader.next(None if self.state == MAIN_DISPATCHER else self._until_s)

    def _echo_request_loop(self) -> None:
        while len(self.unreplied_echo_requests) <= self.max_unreplied_echo_requests:
            request = self.ofproto_parser.OFPEchoRequest(self)
            self.unreplied_echo_requests.append(self.set_xid(request))
            self.send_msg(request)
            if self._has_ended.wait(self.echo_request_interval):
                return
        self.close()

    def _take(self, frame: bytes) -> None:
        kind = Kind(frame[1])
        readable = frames.readable(frame)
        if not readable or (self.id is None and kind not in frames.SAID_FIRST):
            return
        try:
            message = messages.parsed(self, readable)
        except Exception as error:  # a field that os-ken does not know, in another controller's flow
            self._note_unreadable(kind, error)
            return
        if kind == Kind.FEATURES_REPLY:
            self._check_identity(message.datapath_id)
        self._dispatch(message)
        if len(self.ports) > PORTS_MAX:
            raise ConnectionRefused(f"it tells of more than {PORTS_MAX} ports")

    def _check_identity(self, datapath_id: int) -> None:
        if self._datapath_ids is not None and datapath_id not in self._datapath_ids:
            allowed = ", ".join(f"{each:016x}" for each in sorted(self._datapath_ids)) or "none"
            raise ConnectionRefused(f"it says it is {datapath_id:016x}; its certificate allows: {allowed}")

    def _note_unreadable(self, kind: Kind, error: Exception) -> None:
        if not self._is_unreadable_told:
            self._is_unreadable_told = True
            LOG.warning("%s from %s cannot be read (%r), nor may later ones be", kind.name, self.address, error)

    def _dispatch(self, message: Any) -> None:
        """As os-ken does: to the apps' queues, and at once to the handlers of the handshake."""
        event = ofp_event.ofp_msg_to_ev(message)
        self.ofp_brick.send_event_to_observers(event, self.state)
        for handler in list(self.ofp_brick.get_handlers(event, self.state)):
            handler(event)


def start(switches: Switches) -> None:
    """Start the app; switches may be served from now on. Once per process: os-ken's registry of apps is global."""
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    cfg.CONF(args=[], project="rtvnic", default_config_files=[])
    cfg.CONF.set_override("echo_request_interval", ECHO_INTERVAL_S)
    cfg.CONF.set_override("maximum_unreplied_echo_requests", UNANSWERED_ECHOES_MAX)
    manager = app_manager.AppManager.get_instance()
    apps = (manager.instantiate(Handshake), manager.instantiate(RtvnicApp, switches))
    starter = threading.Thread(target=lambda: [app.start() for app in apps], daemon=True)
    starter.start()  # os-ken's threads are daemons when their starter is one; else a controller that fails never ends
    starter.join()


def listen(listener: socket.socket, context: ssl.SSLContext | None = None) -> None:
    """Serve each switch that connects to `listener` in a thread of its own, with TLS by `context`. Returns at once."""
    Server(context).start(listener)


class Server:
    """Takes connections from their first byte to their end. What it refuses, it tells the log."""

    def __init__(self, context: ssl.SSLContext | None) -> None:
        self._context = context
        self._connections = Connections()
        self._complaints = Complaints()

    def start(self, listener: socket.socket) -> None:
        Porter(listener, self._connections, self._serve, self._complain).start()

    def _serve(self, connection: socket.socket, address: Any, until_s: float) -> None:
        settle = partial(self._connections.settle, connection)
        try:
            if self._context is None:
                _converse(connection, address, until_s, settle, None)
                return
            with closing(SharedTls(connection, self._context)) as wire:
                _converse(wire, address, until_s, settle, wire.shake_hands(until_s - time.monotonic()))
        except ConnectionError:
            pass  # it hung up
        except Exception as error:
            self._complain(address, str(error) or type(error).__name__)

    def _complain(self, address: Any, why: str) -> None:
        self._complaints.add(str(address[0]), why, time.monotonic())


def _converse(
    wire: Wire, address: Any, until_s: float, settle: Callable[[int], None], allowed: frozenset[int] | None
) -> None:
    """Raises BadFrame, ConnectionRefused, OSError."""
    reader = FrameReader(wire)
    if not (hello := reader.peek(until_s)):
        return
    if hello[1] != Kind.HELLO:
        raise ConnectionRefused(f"it begins with {Kind(hello[1]).name}, not with HELLO")
    frames.readable(hello)
    with closing(Datapath(wire, address, reader, until_s, settle, allowed)) as datapath:
        datapath.serve()
