"""Hears from the other controllers how their ends of the shared channels stand: asks the REST API of each, in turn.

One thread for each peer; what it hears becomes events.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

import httpx
from pydantic import ValidationError

from controller.events import Event, PeerGone, PeerReported
from controller.reports import EndReports

LOG = logging.getLogger(__name__)
POLL_S = 0.5
TIMEOUT_S = 2.0
ENDS = "/v1/ends"


class PeerLink:
    """Asks the controller of `domain` at `rest_url`, from `start` on for as long as the process lives."""

    def __init__(self, domain: str, rest_url: str, post: Callable[[Event], None]) -> None:
        self._domain = domain
        self._client = httpx.Client(base_url=rest_url, timeout=TIMEOUT_S, trust_env=False)
        self._post = post
        self._thread = threading.Thread(target=self._run, name=f"peer {domain}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def _run(self) -> None:
        while True:
            self._post(self._hear())
            time.sleep(POLL_S)

    def _hear(self) -> Event:
        try:
            answer = self._client.get(ENDS)
            answer.raise_for_status()
            reports = EndReports.model_validate_json(answer.content)
        except httpx.ConnectError:
            return PeerGone(self._domain, "is not running")
        except (httpx.HTTPError, ValidationError) as error:
            LOG.debug("the controller of %s: %s", self._domain, error)
            return PeerGone(self._domain, "does not answer as it should")
        if reports.domain != self._domain:
            return PeerGone(self._domain, f"is that of another domain, {reports.domain}")
        return PeerReported(self._domain, reports.ends)
