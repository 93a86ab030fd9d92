"""The os-ken app: OpenFlow events in, one call each. And what os-ken leaves to its user: where to listen, what to end.

os-ken 4.2 waits for ever on the send queue of a switch that is gone, and so neither ends its threads nor tells its
apps; `Datapath` cures that. Its own server would listen on every address and only tell the log that a port is taken;
`listen` takes its place.
"""

from __future__ import annotations

import logging
import socket
import threading
import time
import warnings
from contextlib import closing
from typing import Any

from controller import openflow
from controller.switches import Switches

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # os-ken imports eventlet where it finds it, and eventlet then warns
    from os_ken import cfg
    from os_ken.base import app_manager
    from os_ken.controller import controller, ofp_event, ofp_handler
    from os_ken.controller.handler import DEAD_DISPATCHER, MAIN_DISPATCHER, set_ev_cls

LOG = logging.getLogger(__name__)
ECHO_INTERVAL_S = 2.0
UNANSWERED_ECHOES_MAX = 2
ACCEPT_RETRY_S = 1.0


class RtvnicApp(app_manager.OSKenApp):  # type: ignore[misc]
    """Hands what the switches say to `switches`."""

    OFP_VERSIONS = (openflow.VERSION,)

    def __init__(self, switches: Switches) -> None:
        super().__init__()
        self._switches = switches

    @set_ev_cls(ofp_event.EventOFPStateChange, [MAIN_DISPATCHER, DEAD_DISPATCHER])
    def on_state_change(self, event: Any) -> None:
        if event.state == MAIN_DISPATCHER:
            self._switches.connect(event.datapath)
        else:
            self._switches.disconnect(event.datapath)

    @set_ev_cls(ofp_event.EventOFPBarrierReply, MAIN_DISPATCHER)
    def on_barrier(self, event: Any) -> None:
        if sender := self._switches.sender_of(event.msg.datapath):
            sender.on_barrier(event.msg.xid)

    @set_ev_cls(ofp_event.EventOFPErrorMsg, MAIN_DISPATCHER)
    def on_error(self, event: Any) -> None:
        if sender := self._switches.sender_of(event.msg.datapath):
            sender.on_error(event.msg.xid, openflow.error_text(event.msg.type, event.msg.code))

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
    """A connection that ends with all of its threads, and tells so at once."""

    def _recv_loop(self) -> None:
        try:
            super()._recv_loop()
        finally:
            self.close()
            self.send(b"", close_socket=True)


def start(switches: Switches) -> None:
    """Start the app; switches may be served from now on. Once per process: os-ken's registry of apps is global."""
    cfg.CONF(args=[], project="rtvnic", default_config_files=[])
    cfg.CONF.set_override("echo_request_interval", ECHO_INTERVAL_S)
    cfg.CONF.set_override("maximum_unreplied_echo_requests", UNANSWERED_ECHOES_MAX)
    manager = app_manager.AppManager.get_instance()
    apps = (manager.instantiate(Handshake), manager.instantiate(RtvnicApp, switches))
    starter = threading.Thread(target=lambda: [app.start() for app in apps], daemon=True)
    starter.start()  # os-ken's threads are daemons when their starter is one; else a controller that fails never ends
    starter.join()


def listen(listener: socket.socket) -> None:
    """Serve each switch that connects to `listener` in a thread of its own. Returns at once."""
    threading.Thread(target=_accept, args=(listener,), name="openflow", daemon=True).start()


def _accept(listener: socket.socket) -> None:
    while True:
        try:
            connection, address = listener.accept()
        except OSError as error:
            LOG.warning("a connection could not be taken: %s", error)
            time.sleep(ACCEPT_RETRY_S)
            continue
        threading.Thread(target=_serve, args=(connection, address), name=f"switch at {address}", daemon=True).start()


def _serve(connection: socket.socket, address: Any) -> None:
    try:
        with closing(Datapath(connection, address)) as datapath:
            datapath.serve()
    except Exception as error:
        LOG.warning("the connection from %s was closed: %s", address, error)
