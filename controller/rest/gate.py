"""What every REST request passes before a route sees it: right host, right to ask, not too often, not too much.

An ASGI middleware, in the server's thread. What it lets through as a write is in the log, with who asked and what came
of it.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from controller.rest.access import RateLimit, TokenRole
from controller.rest.problems import problem
from controller.rest.token_file import TokenFile
from controller.units import NS_PER_S

LOG = logging.getLogger(__name__)
BODY_MAX = 1 << 20
BODY_TIMEOUT_S = 10.0
READING = ("GET", "HEAD", "OPTIONS")
LOCAL = "local"
"""Who reaches the Unix socket, in the log."""


@dataclass(frozen=True)
class Door:
    """A way in. Through a private one, a Unix socket, all may do everything; else writes need a token of `tokens`.

    Where `is_distant`, the listener reaches beyond this machine: reads need a token too. `limit` is of writes.
    """

    is_private: bool = False
    is_distant: bool = False
    tokens: TokenFile | None = None
    limit: RateLimit = field(default_factory=RateLimit)


class Gate:
    """Lets requests for one of `hosts` in to `app`, as `door` says."""

    def __init__(self, app: ASGIApp, hosts: Collection[str], door: Door) -> None:
        self._app = app
        self._hosts = hosts
        self._door = door

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        caller = self._caller(request)
        refusal = caller if isinstance(caller, Response) else self._delay(request, caller)
        if refusal is None:
            body = await _body(request, receive)
            if isinstance(body, bytes):
                await self._app(scope, _again(body, receive), _noting(request, str(caller), send))
                return
            refusal = body
        await refusal(scope, receive, send)

    def _caller(self, request: Request) -> str | Response:
        """Who asks, or why that is refused."""
        host = request.headers.get("host", "")
        if _hostname(host) not in self._hosts:
            return problem(HTTPStatus.BAD_REQUEST, f"this is not '{host}'; ask for 127.0.0.1 or localhost")
        if self._door.is_private:
            return LOCAL
        is_free = not self._door.is_distant
        return LOCAL if is_free and not _is_write(request) else self._by_token(request)

    def _by_token(self, request: Request) -> str | Response:
        scheme, _, secret = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            return _unknown("Bearer", "this needs a token: `Authorization: Bearer ...`, or the Unix socket")
        token = self._door.tokens.find(secret.strip()) if self._door.tokens else None
        if token is None:
            return _unknown('Bearer error="invalid_token"', "this controller does not know the token; see rtvnic token")
        if _is_write(request) and token.role is not TokenRole.WRITE:
            return problem(HTTPStatus.FORBIDDEN, f"the token '{token.name}' may only read; use one with --role write")
        return token.name

    def _delay(self, request: Request, caller: str) -> Response | None:
        wait_ns = self._door.limit.wait_ns(caller, time.monotonic_ns()) if _is_write(request) else 0
        if not wait_ns:
            return None
        retry = {"Retry-After": str(math.ceil(wait_ns / NS_PER_S))}
        return problem(HTTPStatus.TOO_MANY_REQUESTS, f"'{caller}' writes too often; wait a moment", retry)


def _is_write(request: Request) -> bool:
    return request.method not in READING


def _hostname(host: str) -> str | None:
    """A Host header without its port, in lower case."""
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None


def _unknown(challenge: str, detail: str) -> Response:
    return problem(HTTPStatus.UNAUTHORIZED, detail, {"WWW-Authenticate": challenge})


async def _body(request: Request, receive: Receive) -> bytes | Response:
    """The body, or why it is refused: it is too long, whatever its head says, or it does not come."""
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            body = await _at_most(BODY_MAX, request.headers, receive)
    except TimeoutError:
        return problem(HTTPStatus.REQUEST_TIMEOUT, f"the body did not come within {BODY_TIMEOUT_S:g} s")
    if body is None:
        return problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "the body is too long; at most 1 MiB")
    return body


async def _at_most(size: int, headers: Mapping[str, str], receive: Receive) -> bytes | None:
    """The body; None as soon as it is known to be longer."""
    announced = headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > size:
        return None
    body = bytearray()
    while (message := await receive())["type"] == "http.request":
        body += message.get("body", b"")
        if len(body) > size:
            return None
        if not message.get("more_body", False):
            break
    return bytes(body)


def _again(body: bytes, receive: Receive) -> Receive:
    """As if `body` had not been received yet."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def received() -> Message:
        return messages.pop() if messages else await receive()

    return received


def _noting(request: Request, caller: str, send: Send) -> Send:
    """Has the log say what a write was answered with."""

    async def sent(message: Message) -> None:
        if _is_write(request) and message["type"] == "http.response.start":
            LOG.info("%s %r by '%s': %d", request.method, request.url.path, caller, message["status"])
        await send(message)

    return sent
