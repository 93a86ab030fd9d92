"""The REST API of a controller: reads the domain, and asks the channel store for changes.

uvicorn serves it in a thread of its own. `/docs` works without the Internet. Only requests for a name of this machine's
loopback are answered, so that no web page can reach it by a name of its own (DNS rebinding).
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
import time
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Protocol, TypeVar

import uvicorn
from fastapi import FastAPI, HTTPException, Response
from fastapi_offline import FastAPIOffline
from uvicorn.protocols.http.h11_impl import H11Protocol

from controller.domain.domain import Domain
from controller.domain.reports import EndReports
from controller.model import Endpoint, TlsFiles
from controller.rest import metrics, resources, view
from controller.rest.event_stream import EventStream, add_events
from controller.rest.exposition import add_metrics
from controller.rest.gate import Door, Gate
from controller.rest.problems import add_problems, describing
from controller.rest.writes import Writer, add_writes, etag

START_TIMEOUT_S = 10.0
STOP_TIMEOUT_S = 1.0
CONCURRENT_REQUESTS_MAX = 64
CONNECTIONS_MAX = 256
REQUEST_TIMEOUT_S = 5.0
"""Within so long, or twice as long after another one, the head of a request has come."""

LOOPBACK = ("localhost", "127.0.0.1", "::1")

Answer = TypeVar("Answer")


class Readable(Protocol):
    """What the API reads: a controller.domain.loop.DomainLoop."""

    def ask(self, question: Callable[[Domain], Answer]) -> Answer: ...


def api(
    domain: Readable,
    writer: Writer,
    stream: EventStream,
    endpoint: Endpoint,
    door: Door,
    read_handlers: Callable[[], list[resources.HandlerView]] = list,
) -> FastAPI:
    """The API of a controller that listens at `endpoint`, for those who come in by `door`.

    `read_handlers` tells of its handlers of misses; without it there are none.
    """
    app = FastAPIOffline(
        title="RTvNIC",
        description="Real-time channels of one controller's domain. Durations are ns, rates bit/s, sizes bytes.",
        version="1",
        redoc_url=None,
        responses=describing(HTTPStatus.BAD_REQUEST, HTTPStatus.SERVICE_UNAVAILABLE),
    )
    app.add_middleware(Gate, hosts={*LOOPBACK, endpoint.address}, door=door)
    _add_channels(app, domain)
    _add_parts(app, domain)
    _add_whole(app, domain)
    add_writes(app, writer)
    add_events(app, stream)
    add_handlers(app, read_handlers)
    add_metrics(app, lambda: domain.ask(metrics.read), stream, read_handlers)
    add_problems(app)
    return app


def _add_channels(app: FastAPI, domain: Readable) -> None:
    """The routes that tell of channels, and of what became of their packets."""

    @app.get("/v1/channels")
    def channels() -> list[resources.ChannelView]:
        """All channels with an end in the domain, by name."""
        return domain.ask(view.channels)

    @app.get("/v1/channels/{name}", responses=describing(HTTPStatus.NOT_FOUND))
    def channel(name: str, response: Response) -> resources.ChannelView:
        """One channel: contract, state and why, path, labels, counts, delay and lateness. The ETag is its version."""
        found = domain.ask(lambda state: view.channel(state, name))
        if found is None:
            raise HTTPException(HTTPStatus.NOT_FOUND, f"this domain has no channel '{name}'; see /v1/channels")
        response.headers["ETag"] = etag(found.version)
        return found

    @app.get("/v1/classes")
    def classes() -> list[resources.ClassView]:
        """The deadline classes, and what the shim has sent and received of each."""
        return domain.ask(view.classes)

    @app.get("/v1/misses")
    def misses() -> list[resources.MissView]:
        """The last 1000 packets known that arrived here after their deadline, oldest first.

        A sample: of many at once the shim tells some. Channels, events and miss reports count all of them.
        """
        return domain.ask(view.misses)

    @app.get("/v1/miss_reports")
    def miss_reports() -> list[resources.MissReportView]:
        """The last 1000 reports of controllers of listeners on channels that talk from here, oldest first."""
        return domain.ask(view.miss_reports)

    @app.get("/v1/ends")
    def ends() -> EndReports:
        """The domain's ends of its channels: what its peers are told."""
        return domain.ask(view.ends)


def _add_parts(app: FastAPI, domain: Readable) -> None:
    """The routes that tell of what the domain is made of."""

    @app.get("/v1/queues")
    def queues() -> list[resources.QueueView]:
        """The OVS queues of the domain's switches, with the shim's own counts beside them."""
        return domain.ask(view.queues)

    @app.get("/v1/switches")
    def switches() -> list[resources.SwitchView]:
        """The bridges of the domain, and what each has refused, by cause."""
        return domain.ask(view.switches)

    @app.get("/v1/shim")
    def shim() -> resources.ShimView:
        """The shim of the domain's uplink and its counters, with what it dropped by cause."""
        return domain.ask(view.shim)

    @app.get("/v1/peers")
    def peers() -> list[resources.PeerView]:
        """The controllers at the other ends of the domain's channels, and the session with each."""
        return domain.ask(view.peers)

    @app.get("/v1/clock")
    def clock() -> resources.ClockView:
        """The wall clock of this machine and of those of the peers: how far off, says who."""
        return domain.ask(view.clock)

    @app.get("/v1/guests")
    def guests() -> list[resources.GuestView]:
        """The VMs of the domain that may ask for channels by themselves: quota, use, requests and refusals."""
        return domain.ask(view.guests)


def _add_whole(app: FastAPI, domain: Readable) -> None:
    """The routes that tell of the domain as a whole."""

    @app.get("/v1/topology")
    def topology() -> resources.TopologyView:
        """The whole topology file, as understood."""
        return domain.ask(view.topology)

    @app.get("/v1/health", responses={503: {"model": resources.HealthView}})
    def health(response: Response) -> resources.HealthView:
        """Whether the domain does all that its file asks for; 503 and the problems when not."""
        found = domain.ask(view.health)
        if not found.is_healthy:
            response.status_code = HTTPStatus.SERVICE_UNAVAILABLE
        return found


def add_handlers(app: FastAPI, read: Callable[[], list[resources.HandlerView]]) -> None:
    @app.get("/v1/handlers")
    def handlers() -> list[resources.HandlerView]:
        """What misses may start here: the handlers that `on_miss` of a channel may name, and what came of them."""
        return read()


class Connection(H11Protocol):
    """uvicorn's, which would wait without end for who says nothing, and let in as many as come."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > CONNECTIONS_MAX:
            transport.abort()
        else:
            self.loop.call_later(REQUEST_TIMEOUT_S, self._look, None)

    def _look(self, last: Any) -> None:
        """Hang up if no request has come since the one that was the `last`, and none is being answered."""
        if self.transport.is_closing():
            return
        if self.cycle is last and (last is None or last.response_complete):
            self.transport.abort()
        else:
            self.loop.call_later(REQUEST_TIMEOUT_S, self._look, self.cycle)


class _Loop(asyncio.SelectorEventLoop):
    """asyncio's, which would wait a minute for who begins to speak TLS and does not go on."""

    async def create_server(self, *args: Any, **options: Any) -> asyncio.Server:
        if options.get("ssl") is not None:
            options["ssl_handshake_timeout"] = REQUEST_TIMEOUT_S
        return await super().create_server(*args, **options)


class RestServer:
    """Serves `app` on `listener` in a thread, from `start` to `stop`; with `tls` to who has a certificate of its CA."""

    def __init__(self, app: FastAPI, listener: socket.socket, tls: TlsFiles | None = None) -> None:
        config = uvicorn.Config(
            app,
            http=Connection,
            log_config=None,
            access_log=False,
            limit_concurrency=CONCURRENT_REQUESTS_MAX,
            timeout_graceful_shutdown=1,
            ws="none",
            lifespan="off",
            ssl_keyfile=tls.key if tls else None,
            ssl_certfile=tls.certificate if tls else None,
            ssl_ca_certs=str(tls.authority) if tls else None,
            ssl_cert_reqs=ssl.CERT_REQUIRED if tls else ssl.CERT_NONE,
        )
        self._server = uvicorn.Server(config)
        self._listener = listener
        self._thread = threading.Thread(target=self._run, name="rest", daemon=True)

    def start(self) -> None:
        """Returns when requests are answered. Raises TimeoutError."""
        self._thread.start()
        end_s = time.monotonic() + START_TIMEOUT_S
        while not self._server.started:
            if time.monotonic() > end_s:
                raise TimeoutError("the REST server does not start")
            time.sleep(0.005)

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(STOP_TIMEOUT_S)

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=_Loop) as runner:
            runner.run(self._server.serve(sockets=[self._listener]))
