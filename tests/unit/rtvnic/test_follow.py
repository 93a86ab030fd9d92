"""`rtvnic show misses --follow`: a real stream, broken off and resumed."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from support.domains import Driver
from support.fake_store import FakeStore
from support.networks import two_hypervisors
from support.waiting import wait_until

from controller import rest
from controller.event_stream import EventStream
from controller.gate import Door
from controller.model import Endpoint
from controller.notices import MissNotice, TroubleNotice
from controller.rest import RestServer
from controller.writes import Writer
from rtvnic.__main__ import main
from rtvnic.follow import Event, parsed

NETWORK = two_hypervisors()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@contextmanager
def serving(stream: EventStream, port: int) -> Iterator[None]:
    """A controller at `port`, the only one of its network."""
    network = two_hypervisors()
    for hypervisor in network.hypervisors.values():
        object.__setattr__(hypervisor, "controller", Endpoint("127.0.0.1", 1, port))
    store = FakeStore(NETWORK)
    with socket.create_server(("127.0.0.1", port)) as listener:
        api = rest.api(Driver(network, "left"), Writer(NETWORK, store), stream, Endpoint("127.0.0.1", 1, port), Door())
        server = RestServer(api, listener)
        server.start()
        yield
        stream.close()
        server.stop()


def miss(count: int) -> MissNotice:
    return MissNotice(domain="right", at_ns=10**18, channel="video", count=count, worst_lateness_ns=1_500_000)
