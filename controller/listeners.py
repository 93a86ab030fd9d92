"""Where a controller can be reached. A listener exists before what serves it: whoever comes meanwhile waits, and need
not come again."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from pathlib import Path

from controller.errors import CannotRun
from controller.model import Endpoint, Network
from controller.runtime import rest_socket

BACKLOG = 512


@dataclass(frozen=True)
class Listeners:
    """Of one controller. `private_rest` is for this machine's root alone."""

    openflow: socket.socket
    rest: socket.socket
    private_rest: socket.socket
    peering: socket.socket

    @classmethod
    def of(cls, network: Network, name: str) -> Listeners:
        """Of the controller of the domain `name`. Raises CannotRun."""
        endpoint = network.hypervisors[name].controller
        return cls(
            openflow=listen_at(endpoint, endpoint.openflow_port, "OpenFlow"),
            rest=listen_at(endpoint, endpoint.rest_port, "REST"),
            private_rest=private_listener(rest_socket(name)),
            peering=listen_at(endpoint, endpoint.peering_port, "other controllers"),
        )


def listen_at(endpoint: Endpoint, port: int, what: str) -> socket.socket:
    """A listener for `what` at `port` of the address of `endpoint`. Raises CannotRun."""
    family = socket.AF_INET6 if ":" in endpoint.address else socket.AF_INET
    try:
        return socket.create_server((endpoint.address, port), family=family, backlog=BACKLOG)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        cure = "end what listens there (ss -ltnp names it), or choose another port in the topology file"
        raise CannotRun(f"cannot listen for {what} at {endpoint.address}:{port}: {reason}", cure) from error


def private_listener(path: Path) -> socket.socket:
    """For root alone. One that a former process left there is replaced: its port was free, so it is gone."""
    listener = socket.socket(socket.AF_UNIX)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        listener.bind(str(path))
        path.chmod(0o600)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        cure = "run it as root, or name another directory: RTVNIC_RUN_DIR"
        raise CannotRun(f"cannot listen for REST at {path}: {error.strerror or error}", cure) from error
    return listener
