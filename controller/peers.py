"""Hears from the other controllers how their ends of the shared channels stand: asks the REST API of each, in turn.

One thread for each peer; what it hears becomes events.
"""

from __future__ import annotations

import logging
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Mapping

import httpx
from pydantic import ValidationError

from controller.events import Event, PeerGone, PeerReported
from controller.model import TlsFiles
from controller.reports import EndReports

LOG = logging.getLogger(__name__)
POLL_S = 0.5
TIMEOUT_S = 2.0
ANSWER_TIMEOUT_S = 5.0
"""For all of an answer; TIMEOUT_S is for the next part of it."""
ENDS = "/v1/ends"
ANSWER_BYTES_MAX = 1 << 25
"""The ends of 65,520 channels take three quarters of it."""

UNCOMPRESSED = {"Accept-Encoding": "identity"}
"""So that a short answer is not a long one."""


class BadAnswer(Exception):
    """What a peer says has no end."""


def client_context(tls: TlsFiles | None) -> ssl.SSLContext | bool:
    """What httpx calls `verify`: trust in our CA alone, and our own certificate to show."""
    if tls is None:
        return True
    context = ssl.create_default_context(cafile=tls.authority)
    context.load_cert_chain(tls.certificate, tls.key)
    return context


class Peers:
    """Those that are followed, of all controllers: `urls` says where each domain's answers. One thread at a time.

    To those on other machines it shows the certificate of `tls`.
    """

    def __init__(self, urls: Mapping[str, str], post: Callable[[Event], None], tls: TlsFiles | None = None) -> None:
        self._urls = urls
        self._post = post
        self._verify = client_context(tls)
        self._links: dict[str, PeerLink] = {}

    def follow(self, domains: Iterable[str]) -> None:
        """Hear from the controllers of `domains` from now on, and of no others."""
        wanted = set(domains)
        for domain in self._links.keys() - wanted:
            self._links.pop(domain).stop()
        for domain in sorted(wanted - self._links.keys()):
            self._links[domain] = PeerLink(domain, self._urls[domain], self._post, self._verify)
            self._links[domain].start()


class PeerLink:
    """Asks the controller of `domain` at `rest_url`, from `start` to `stop`."""

    def __init__(
        self, domain: str, rest_url: str, post: Callable[[Event], None], verify: ssl.SSLContext | bool = True
    ) -> None:
        self._domain = domain
        self._client = httpx.Client(base_url=rest_url, timeout=TIMEOUT_S, trust_env=False, verify=verify)
        self._post = post
        self._is_stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"peer {domain}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Ask no more. Does not wait; one last word may still come."""
        self._is_stopping.set()

    def _run(self) -> None:
        while not self._is_stopping.is_set():
            self._post(self._hear())
            self._is_stopping.wait(POLL_S)

    def _hear(self) -> Event:
        try:
            reports = EndReports.model_validate_json(self._answer())
        except httpx.ConnectError:
            return PeerGone(self._domain, "is not running")
        except (httpx.HTTPError, ValidationError, BadAnswer) as error:
            LOG.debug("the controller of %s: %s", self._domain, error)
            return PeerGone(self._domain, "does not answer as it should")
        if reports.domain != self._domain:
            return PeerGone(self._domain, f"is that of another domain, {reports.domain}")
        return PeerReported(self._domain, reports.ends)

    def _answer(self) -> bytes:
        """Raises httpx.HTTPError, BadAnswer."""
        end_s = time.monotonic() + ANSWER_TIMEOUT_S
        content = bytearray()
        with self._client.stream("GET", ENDS, headers=UNCOMPRESSED) as answer:
            answer.raise_for_status()
            for part in answer.iter_raw():
                content += part
                if len(content) > ANSWER_BYTES_MAX or time.monotonic() > end_s:
                    raise BadAnswer(f"it is too long, or takes too long: {len(content)} bytes")
        return bytes(content)
