"""The controller's side of its shim's socket: gives it settings and channels, asks for statistics, hears of misses.

One thread, which connects again whenever the shim has ended; `ask` may be called from any. The protocol is that of
`dataplane.protocol`: a JSON object on each line.
"""

from __future__ import annotations

import json
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from controller.events import Event, Missed, ShimGone, ShimReady, ShimReported
from controller.guarantee import Guarantees
from controller.model import Network
from controller.tolerance import tolerant

LOG = logging.getLogger(__name__)
RETRY_S = 0.2
ANSWER_TIMEOUT_S = 5.0
LINE_BYTES_MAX = 1 << 20
CHANNELS_PER_REQUEST = 1000
"""A contract takes about 90 bytes; a line holds 1 MiB."""

Json = dict[str, Any]


class ShimRefusedError(Exception):
    """The shim's word on a request that it did not carry out."""


def settings(network: Network, name: str) -> list[Json]:
    """The requests that make the shim of the domain `name` what the topology file asks for.

    The last one says so: only then packets come to it.
    """
    network = tolerant(network)
    uplink, guarantees = network.hypervisors[name].uplink, Guarantees(network)
    terms = [
        {
            "label": channel.label,
            "rate_bps": channel.wire_rate_bps,
            "burst_bytes": channel.wire_burst_bytes,
            "downstream_ns": guarantees.downstream_ns(channel),
            "late": channel.late,
            "strips_labels": channel.listener in network.hosts,
        }
        for channel in network.channels.values()
        if name in network.domains(channel) and channel.name in guarantees.ways
    ]
    parts = range(0, len(terms), CHANNELS_PER_REQUEST)
    return [
        {"op": "configure", "rate_bps": uplink.rate_bps, "be_slack_ns": uplink.be_slack_ns},
        *({"op": "channels", "set": terms[at : at + CHANNELS_PER_REQUEST]} for at in parts),
        {"op": "subscribe", "to": ["misses"]},
        {"op": "ready"},
    ]


class ShimLink:
    """Keeps the shim at `path` set up with `requests`; what it says becomes events for `post`."""

    def __init__(self, path: Path, requests: list[Json], post: Callable[[Event], None]) -> None:
        self._path = path
        self._requests = requests
        self._post = post
        self._connection: socket.socket | None = None
        self._thread = threading.Thread(target=self._run, name="shim link", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def ask(self) -> None:
        """Have the shim report its statistics, if it is there."""
        connection = self._connection
        if connection is not None:
            try:
                _send(connection, {"op": "statistics"})
            except OSError as error:
                LOG.debug("the shim at %s: %s", self._path, error)

    def _run(self) -> None:
        why = ""
        while True:
            try:
                why = self._converse()
            except (OSError, ValueError, LookupError, TypeError, ShimRefusedError) as error:
                why = _reason(error)
            self._connection = None
            self._post(ShimGone(why))
            time.sleep(RETRY_S)

    def _converse(self) -> str:
        """From connection to end. Returns why it ended."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(ANSWER_TIMEOUT_S)
            connection.connect(str(self._path))
            messages = _messages(connection)
            for request in self._requests:
                _send(connection, request)
                _check(_next_answer(messages), "refuses its settings")
            self._connection = connection
            self._post(ShimReady())
            for message in messages:
                self._hear(message)
        return "has closed the connection"

    def _hear(self, message: Json) -> None:
        if message.get("event") == "misses":
            self._post(Missed(tuple(message["misses"])))
            return
        _check(message, "refuses to tell its statistics")
        self._post(ShimReported({key: message[key] for key in ("egress", "ingress", "classes", "channels")}))


def _messages(connection: socket.socket) -> Iterator[Json]:
    """What comes in, line by line, until the other side closes. Raises OSError, and ValueError for what is no object.

    A shim that is asked once a second and stays silent for ANSWER_TIMEOUT_S is as good as gone: TimeoutError.
    """
    data = bytearray()
    while received := connection.recv(1 << 16):
        data += received
        *lines, data = data.split(b"\n")
        for line in lines:
            message = json.loads(line)
            if not isinstance(message, dict):
                raise ValueError("it sent a line that is no JSON object")
            yield message
        if len(data) > LINE_BYTES_MAX:
            raise ValueError("it sent a line without an end")


def _next_answer(messages: Iterator[Json]) -> Json:
    for message in messages:
        return message
    raise ConnectionResetError


def _send(connection: socket.socket, request: Json) -> None:
    connection.sendall(json.dumps(request).encode() + b"\n")


def _check(answer: Json, refusal: str) -> None:
    if not answer.get("ok"):
        raise ShimRefusedError(f"{refusal}: {answer.get('error')}")


def _reason(error: Exception) -> str:
    match error:
        case ShimRefusedError():
            return str(error)
        case FileNotFoundError() | ConnectionRefusedError():
            return "is not running"
        case TimeoutError():
            return "does not answer"
        case ConnectionResetError() | BrokenPipeError():
            return "has closed the connection"
        case OSError():
            return f"is not reachable: {error}"
        case KeyError():
            return f"speaks badly: it left out {error}"
        case _:
            return f"speaks badly: {error}"
