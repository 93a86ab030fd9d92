"""Delivers to webhooks: signed, in several tries, each within its time.

Hazard: a receiver may answer slowly, drop by drop, without end, or send us elsewhere. Guarantee: after TRIES tries and
the pauses between them it is over; of an answer the head alone is read, and no redirection is followed; what cannot get
better by asking again is not tried again. `deliver` blocks its caller. An event loop in a thread of its own does the
talking: only there can a name that is being looked up be left alone when the time is over.
"""

from __future__ import annotations

import asyncio
import json
import random
import ssl
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import replace
from http import HTTPStatus
from pathlib import Path

import httpx

from controller.errors import CannotRun
from controller.handlers.declared import Webhook
from controller.handlers.facts import Facts
from controller.handlers.signing import key_of, signed
from controller.handlers.turns import End, How
from controller.private_file import read_private
from controller.units import DURATION, NS_PER_S

TRIES = 4
PAUSE_S = 0.5
"""Before the second try, twice as long before each further one; less up to a half of it, by chance."""

SECRET_BYTES_MAX = 1000
WORTH_ANOTHER_TRY = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS, *range(500, 600)}


def read_key(secret: Path) -> bytes:
    """The key that deliveries are signed with, as the file has it now. Raises CannotRun."""
    cure = f'make it: (umask 077; echo "whsec_$(openssl rand -base64 32)" > {secret})'
    content = read_private(secret, SECRET_BYTES_MAX, cure)
    try:
        return key_of(content.decode("ascii").strip())
    except ValueError as error:
        raise CannotRun(f"{secret} is not the secret of a webhook: {error}", cure) from None


class Courier:
    """Makes deliveries to one receiver, for any number of threads. Each try has `timeout_ns`."""

    def __init__(self, webhook: Webhook, timeout_ns: int, pause: Callable[[float], None] = time.sleep) -> None:
        self._webhook = webhook
        self._timeout_ns = timeout_ns
        self._pause = pause
        self._loop = asyncio.new_event_loop()
        self._trust = ssl.create_default_context()
        threading.Thread(target=self._loop.run_forever, name="webhook", daemon=True).start()

    def deliver(self, told: Facts) -> End:
        """Have the receiver know `told`; what came of it. Raises CannotRun."""
        delivery_id = f"msg_{uuid.uuid4().hex}"
        body = json.dumps({"delivery_id": delivery_id, **told}).encode()
        for tries in range(1, TRIES + 1):
            headers = signed(read_key(self._webhook.secret), delivery_id, time.time_ns() // NS_PER_S, body)
            end, is_worth_another = self._try(headers, body)
            if tries == TRIES or not is_worth_another:
                break
            self._pause(PAUSE_S * 2 ** (tries - 1) * random.uniform(0.5, 1))
        return replace(end, tries=tries)

    def _try(self, headers: Mapping[str, str], body: bytes) -> tuple[End, bool]:
        """What came of one try, and whether another one may come to something else."""
        try:
            status = asyncio.run_coroutine_threadsafe(self._post(headers, body), self._loop).result()
        except TimeoutError:
            return End(How.TIMED_OUT, f"had no answer within {DURATION.format(self._timeout_ns)}"), True
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            return End(How.FAILED, f"did not reach its receiver: {error or type(error).__name__}"), True
        if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
            return End(How.DONE), False
        return End(How.FAILED, f"was answered with {status}"), status in WORTH_ANOTHER_TRY

    async def _post(self, headers: Mapping[str, str], body: bytes) -> int:
        """The status of the answer. Raises TimeoutError, httpx.HTTPError, httpx.InvalidURL."""
        fields = {**headers, "content-type": "application/json"}
        async with (
            asyncio.timeout(self._timeout_ns / NS_PER_S),
            httpx.AsyncClient(verify=self._trust, trust_env=False, timeout=None) as client,
            client.stream("POST", self._webhook.url, content=body, headers=fields) as answer,
        ):
            return answer.status_code
