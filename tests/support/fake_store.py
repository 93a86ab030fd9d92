"""A channel store in memory, and REST in front of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import httpx

from controller.errors import CannotRun
from controller.model import Endpoint, Network
from controller.rest import server as rest
from controller.rest.event_stream import EventStream
from controller.rest.gate import Door
from controller.rest.resources import HandlerView
from controller.rest.writes import Writer
from controller.store.decisions import Clerk, Decision
from controller.store.records import EndStanding, Snapshot, effective

ENDPOINT = Endpoint("127.0.0.1", 6653, 8080)
RESULTS = ("bounds", "jitter_ns", "slacks", "topology")
"""What admission finds, and the store keeps beside the channels."""


class FakeStore:
    """As a controller.store.link.StoreLink, for one thread. `is_away`: it does not answer."""

    def __init__(self, network: Network) -> None:
        self.clerk = Clerk(network)
        self.now = Snapshot(0, "", -1, {}, {})
        self.is_away = False
        self.change(self.clerk.apply(network.channels))

    def change(self, decision: Decision) -> Snapshot:
        if self.is_away:
            raise CannotRun("the store does not answer", "start it")
        wanted = decision(self.now)
        change = effective(wanted, self.now) if wanted else None
        if change is not None:
            kept = {name: each for name, each in self.now.records.items() if name not in change.remove}
            records = kept | {each.channel.name: each for each in change.put}
            news = {name: value for name in RESULTS if (value := getattr(change, name)) is not None}
            self.now = replace(self.now, revision=self.now.revision + 1, records=records, **news)
        return self.now

    def stand(self, name: str, talker: str, listener: str) -> None:
        """As the controllers of both ends write back."""
        record = replace(self.now.records[name], talker=EndStanding(talker), listener=EndStanding(listener))
        self.now = replace(self.now, records={**self.now.records, name: record})


def asking(
    domain: rest.Readable,
    store: FakeStore,
    network: Network,
    requests: Iterable[tuple[str, str, dict[str, Any]]],
    endpoint: Endpoint = ENDPOINT,
    door: Door | None = None,
    handlers: Callable[[], list[HandlerView]] = list,
) -> list[httpx.Response]:
    """What one API answers to requests (method, path, options of httpx), one after the other."""
    app = rest.api(domain, Writer(network, store), EventStream(), endpoint, door or Door(is_private=True), handlers)

    async def answers() -> list[httpx.Response]:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url=endpoint.rest_url) as client:
            return [await client.request(method, path, **options) for method, path, options in requests]

    return asyncio.run(answers())
