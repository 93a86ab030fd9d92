"""The REST API of a controller: reads the domain, changes nothing. Errors are problem+json (RFC 9457).

uvicorn serves it in a thread of its own. `/docs` works without the Internet. Only requests for a name of this machine's
loopback are answered, so that no web page can reach it by a name of its own (DNS rebinding).
"""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Protocol, TypeVar
from urllib.parse import urlsplit

import uvicorn
from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi_offline import FastAPIOffline
from starlette.exceptions import HTTPException as StarletteHTTPException

from controller import resources, view
from controller.domain import Domain
from controller.model import Endpoint
from controller.reports import EndReports, Model

LOG = logging.getLogger(__name__)
PROBLEM = "application/problem+json"
START_TIMEOUT_S = 10.0
STOP_TIMEOUT_S = 1.0
CONCURRENT_REQUESTS_MAX = 64
LOOPBACK = ("localhost", "127.0.0.1", "::1")

Answer = TypeVar("Answer")
CallNext = Callable[[Request], Awaitable[Response]]


class Readable(Protocol):
    """What the API reads: a controller.loop.DomainLoop."""

    def ask(self, question: Callable[[Domain], Answer]) -> Answer: ...


class Problem(Model):
    """What went wrong, in the form of RFC 9457."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str


def api(domain: Readable, endpoint: Endpoint) -> FastAPI:
    """The API of a controller that listens at `endpoint`."""
    app = FastAPIOffline(
        title="RTvNIC",
        description="Real-time channels of one controller's domain. Durations are ns, rates bit/s, sizes bytes.",
        version="1",
        redoc_url=None,
    )
    app.middleware("http")(_refuse_foreign_hosts({*LOOPBACK, endpoint.address}))
    app.add_exception_handler(StarletteHTTPException, _http_problem)
    app.add_exception_handler(RequestValidationError, _validation_problem)
    app.add_exception_handler(Exception, _unforeseen_problem)
    _add_routes(app, domain)
    return app


def _add_routes(app: FastAPI, domain: Readable) -> None:
    @app.get("/v1/channels")
    def channels() -> list[resources.ChannelView]:
        """All channels with an end in the domain, by name."""
        return domain.ask(view.channels)

    @app.get("/v1/channels/{name}", responses={404: {"model": Problem}})
    def channel(name: str) -> resources.ChannelView:
        """One channel: contract, state and why, path and labels, counts, delay and lateness."""
        found = domain.ask(lambda state: view.channel(state, name))
        if found is None:
            raise HTTPException(HTTPStatus.NOT_FOUND, f"this domain has no channel '{name}'; see /v1/channels")
        return found

    @app.get("/v1/classes")
    def classes() -> list[resources.ClassView]:
        """The deadline classes, and what the shim has sent and received of each."""
        return domain.ask(view.classes)

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
        """The controllers at the other ends of the domain's channels."""
        return domain.ask(view.peers)

    @app.get("/v1/misses")
    def misses() -> list[resources.MissView]:
        """The last 1000 packets that arrived here after their deadline, oldest first."""
        return domain.ask(view.misses)

    @app.get("/v1/ends")
    def ends() -> EndReports:
        """The domain's ends of its channels: what its peers ask for."""
        return domain.ask(view.ends)

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


def _refuse_foreign_hosts(hosts: set[str]) -> Callable[[Request, CallNext], Awaitable[Response]]:
    async def middleware(request: Request, call_next: CallNext) -> Response:
        host = request.headers.get("host", "")
        if _hostname(host) not in hosts:
            return _problem(HTTPStatus.BAD_REQUEST, f"this is not '{host}'; ask for 127.0.0.1 or localhost")
        return await call_next(request)

    return middleware


def _hostname(host: str) -> str | None:
    """A Host header without its port, in lower case."""
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None


def _problem(status: int, detail: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    problem = Problem(title=HTTPStatus(status).phrase, status=status, detail=detail)
    return JSONResponse(problem.model_dump(), status_code=status, headers=headers, media_type=PROBLEM)


def _http_problem(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, StarletteHTTPException)
    is_plain = error.detail == HTTPStatus(error.status_code).phrase
    detail = f"{request.method} {request.url.path} is not served here; see /docs" if is_plain else error.detail
    return _problem(error.status_code, detail, error.headers)


def _validation_problem(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    details = [f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors()]
    return _problem(HTTPStatus.UNPROCESSABLE_ENTITY, "; ".join(details))


def _unforeseen_problem(request: Request, error: Exception) -> JSONResponse:
    LOG.error("%s %s: %r", request.method, request.url.path, error)
    return _problem(HTTPStatus.INTERNAL_SERVER_ERROR, "the controller's log says more")


class RestServer:
    """Serves `app` on `listener` in a thread, from `start` to `stop`."""

    def __init__(self, app: FastAPI, listener: socket.socket) -> None:
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            limit_concurrency=CONCURRENT_REQUESTS_MAX,
            timeout_graceful_shutdown=1,
            ws="none",
            lifespan="off",
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [listener]}, name="rest", daemon=True
        )

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
