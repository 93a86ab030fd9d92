"""What the controller of a domain would need if it were started now. Nothing is started or changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import httpx
from pyroute2 import IPRoute

from controller.errors import CannotRun, InvalidFile
from controller.handlers import programs
from controller.handlers.declared import Handler, Program, Webhook
from controller.handlers.webhooks import read_key
from controller.listeners import listen_at
from controller.model import Network, Scheduler, TlsFiles
from controller.network.wiring import PortRole, ports_of
from controller.rest.token_file import read_tokens
from controller.runtime import RUN_DIR, rest_socket, shim_socket
from controller.store.client import Store
from controller.store.remotes import require
from controller.tls import expires_s
from ovs_config.links import index_of
from ovs_config.openvswitch import local_db_socket
from ovs_config.ovsdb import TAG, connect
from ovs_config.plan import DatapathType, plan_bridge
from rtvnic.checklist import Check, Line, State, tried
from rtvnic.connection import local, why_silent

TIMEOUT_S = 2.0
VALID_FOR = timedelta(days=30)
"""A certificate that is not so for longer is to be renewed."""

MADE_BY_BRIDGE = (PortRole.EDF, PortRole.LIVENESS)


@dataclass(frozen=True)
class Preflight:
    """The checks for the controller of `domain` in `network`, each by its name; `store` and `tokens` as it is given."""

    network: Network
    domain: str
    store: str = ""
    tokens: Path | None = None

    def checks(self) -> dict[str, Check]:
        endpoint = self.network.hypervisors[self.domain].controller
        return {
            "OpenFlow": partial(self.address, port=endpoint.openflow_port),
            "REST": partial(self.address, port=endpoint.rest_port),
            "peering": partial(self.address, port=endpoint.peering_port),
            **{what: partial(self.certificate, of=files) for what, files in self._certificates().items()},
            **({"tokens": partial(self.token_file, of=self.tokens)} if self.tokens else {}),
            **({"store": self.channel_store} if self.store else {"one store for all": self.one_store}),
            "interfaces": self.interfaces,
            "Open vSwitch": self.open_vswitch,
            "bridge": self.bridge,
            "shim": self.shim,
            **{f"handler {name}": partial(self.handler, of=each) for name, each in self.network.handlers.items()},
        }

    def address(self, what: str, port: int) -> Iterator[Line]:
        endpoint = self.network.hypervisors[self.domain].controller
        try:
            listen_at(endpoint, port, what).close()
        except CannotRun:
            if not self._runs_already():
                raise
            yield Line(what, State.FINE, f"the controller of {self.domain} that runs already listens there")
        else:
            yield Line(what, State.FINE, f"{endpoint.address}:{port} is free")

    def _runs_already(self) -> bool:
        """Whether the controller of this domain answers at root's own socket."""
        try:
            with local(rest_socket(self.domain), TIMEOUT_S) as client:
                answer = client.get("/v1/health").json()
        except (httpx.HTTPError, ValueError, CannotRun):
            return False
        return isinstance(answer, dict) and answer.get("domain") == self.domain

    def _certificates(self) -> dict[str, TlsFiles]:
        """What the controller and Open vSwitch show to others, where they have to."""
        files = {
            "controller's certificate": self.network.controller_tls(self.domain),
            "bridge's certificate": self.network.switch_tls(self.domain),
        }
        return {what: each for what, each in files.items() if each}

    def certificate(self, what: str, of: TlsFiles) -> Iterator[Line]:
        ends = datetime.fromtimestamp(expires_s(require(of)), UTC)
        found = f"{of.certificate} is valid until {ends:%Y-%m-%d}"
        if ends - datetime.now(UTC) < VALID_FOR:
            yield Line(what, State.POOR, found, "make the files anew in time: rtvnic pki FILE --renew")
        else:
            yield Line(what, State.FINE, found)

    def token_file(self, what: str, of: Path) -> Iterator[Line]:
        yield Line(what, State.FINE, f"{of} has {len(read_tokens(of))}")

    def channel_store(self, what: str) -> Iterator[Line]:
        tls = self.network.controller_tls(self.domain)
        with Store(self.store, self.network.classes, tls, TIMEOUT_S) as store:
            store.read()
        yield Line(what, State.FINE, f"answers at {self.store}")

    def one_store(self, what: str) -> Iterator[Line]:
        """Nothing to say where the controllers of other machines can have the same."""
        others = self.network.beyond_machine(self.domain)
        if others:
            found = f"this machine's own: the controllers of other machines ({', '.join(others)}) know nothing of it"
            yield Line(what, State.LACKING, found, "run one store, and give it to all controllers: --store ssl:IP:6641")

    def interfaces(self, what: str) -> Iterator[Line]:
        """Those that others make: the uplink and the VMs' ports."""
        ports = [port for port in ports_of(self.network, self.domain) if port.role not in MADE_BY_BRIDGE]
        with IPRoute() as ip:
            missing = [port.interface for port in ports if index_of(ip, port.interface) is None]
        if missing:
            cure = "`ip link` lists them; correct `interface` in the file, or make them"
            yield Line(what, State.LACKING, f"there is no {', '.join(missing)}", cure)
        else:
            yield Line(what, State.FINE, f"{len(ports)}: the uplink and the VMs' ports")

    def open_vswitch(self, what: str) -> Iterator[Line]:
        yield Line(what, State.FINE, f"answers at {local_db_socket(RUN_DIR)}")

    def bridge(self, what: str) -> Iterator[Line]:
        """Is it ours, and will it come to this controller?"""
        target = plan_bridge(self.network, self.domain, DatapathType.NETDEV).controller_target
        cure = f"rtvnic bridge {self.network.file} --domain {self.domain}"
        with connect(local_db_socket(RUN_DIR)) as ovsdb:
            found = ovsdb.lookup("Bridge", self.domain, None)
            targets = [controller.target for controller in found.controller] if found is not None else []
        if found is None:
            yield Line(what, State.LACKING, f"there is no bridge {self.domain}", cure)
        elif TAG not in found.external_ids:
            yield Line(what, State.LACKING, f"the bridge {self.domain} is not ours", f"ovs-vsctl del-br, then {cure}")
        elif targets != [target]:
            yield Line(what, State.LACKING, f"its controller is {', '.join(targets) or 'none'}, not {target}", cure)
        else:
            yield Line(what, State.FINE, f"{self.domain} has its controller at {target}")

    def shim(self, what: str) -> Iterator[Line]:
        """Not having one is no obstacle: packets go past it."""
        path = shim_socket(self.domain)
        if self.network.hypervisors[self.domain].uplink.scheduler is not Scheduler.EDF:
            yield Line(what, State.FINE, "none is asked for")
        elif reason := why_silent(path):
            found = f"does not serve {path} ({reason}): packets go past it"
            yield Line(what, State.POOR, found, f"systemctl start rtvnic-shim@{self.domain}")
        else:
            yield Line(what, State.FINE, f"serves {path}")

    def handler(self, what: str, of: Handler) -> Iterator[Line]:
        """Could a miss start it?"""
        match of.action:
            case Program(words, user) as program:
                programs.require(program)
                yield Line(what, State.FINE, f"{words[0]} is there, for {user} to run")
            case Webhook(url, secret):
                read_key(secret)
                yield Line(what, State.FINE, f"{secret} has the secret for {url}")


def preflight(
    read: Callable[[], Network], file: Path, domain: str, store: str = "", tokens: Path | None = None
) -> list[Line]:
    """The whole checklist for the network that `read` finds in `file`; only its first line if that is no good."""
    what = "topology file"
    try:
        network = read()
    except InvalidFile as error:
        more = f", and {len(error.problems) - 1} more" if len(error.problems) > 1 else ""
        found = f"{error.problems[0].text(str(file))}{more}"
        return [Line(what, State.LACKING, found, f"correct it; `rtvnic check {file}` lists all")]
    except CannotRun as error:
        return [Line(what, State.LACKING, error.what, error.cure)]
    lines = [Line(what, State.FINE, f"{file} is valid and admitted, with {len(network.channels)} channels")]
    for what, check in Preflight(network, domain, store, tokens).checks().items():
        lines += tried(what, check)
    return lines
