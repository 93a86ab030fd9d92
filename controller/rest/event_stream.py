"""`GET /v1/events`: what the domain publishes, as server-sent events that can be resumed.

An EventStream keeps the last notices in a ring; each reader has a place in it, so that memory is bounded whatever
readers do. Who is too slow for the ring is cut off. `publish` may be called by any thread and returns at once; readers
live in the event loops of the REST servers.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Annotated

from fastapi import FastAPI, Header, HTTPException, Query, Response
from starlette.types import Receive, Scope, Send

from controller.domain.notices import Notice
from controller.rest.problems import Responses, describing

LOG = logging.getLogger(__name__)
KEPT = 8192
READERS_MAX = 16
CHUNK = 256
HEARTBEAT_S = 15.0
LIFE_S = 600.0
"""A stream ends then, and its reader resumes: so a token that was removed is of no use for long."""

NUMBER = re.compile("[0-9]{1,18}")
RESUME_MS = 1000
"""A reader is to wait so long before it comes again."""


class TooManyReadersError(Exception):
    """All READERS_MAX places are taken."""


class StreamEndedError(Exception):
    """The controller ends, or the reader was too slow: what it would read next is gone."""


class EventStream:
    """The last KEPT notices, numbered from 1, and those who read them. Counts are since the start.

    An id is `START-NUMBER`: after a restart of the controller its numbers mean nothing any more. Who has read nothing
    yet has the id of what came before.
    """

    def __init__(self, start: str = "") -> None:
        self.published = 0
        self.cut_off = 0
        self._start = start or f"{time.time_ns():x}"
        self._ring: deque[bytes] = deque(maxlen=KEPT)
        self._readers: set[Reader] = set()
        self._lock = threading.Lock()

    @property
    def readers(self) -> int:
        return len(self._readers)

    def publish(self, notices: Iterable[Notice]) -> None:
        """Have all readers told."""
        with self._lock:
            for notice in notices:
                self._ring.append(_event(self.id_at(self.published + 1), notice))
                self.published += 1
            for reader in self._readers:
                reader.wake()

    def close(self) -> None:
        """End all streams."""
        with self._lock:
            for reader in self._readers:
                reader.end()

    @contextmanager
    def reader(self, last_id: str = "") -> Iterator[Reader]:
        """One who has read up to `last_id`, or is to read what comes from now on. Raises TooManyReadersError."""
        with self._lock:
            if len(self._readers) >= READERS_MAX:
                raise TooManyReadersError
            made = Reader(self, *self._place(last_id))
            self._readers.add(made)
        try:
            yield made
        finally:
            with self._lock:
                self._readers.discard(made)
                self.cut_off += made.is_too_slow

    def id_at(self, place: int) -> str:
        """Of the event with the number `place`: what who has read up to it shows."""
        return f"{self._start}-{place}"

    def after(self, place: int) -> list[bytes]:
        """Up to CHUNK events after the number `place`. Raises StreamEndedError where they are gone."""
        with self._lock:
            skipped = place - self._oldest
            if skipped < 0:
                raise StreamEndedError
            return [self._ring[at] for at in range(skipped, min(skipped + CHUNK, len(self._ring)))]

    def has_passed(self, place: int) -> bool:
        return place < self._oldest

    @property
    def _oldest(self) -> int:
        """Who has read up to this number has missed nothing that is gone."""
        return self.published - len(self._ring)

    def _place(self, last_id: str) -> tuple[int, bool]:
        """The number up to which one has read who has read `last_id`, and whether some after it are gone."""
        if not last_id:
            return self.published, False
        start, _, number = last_id.rpartition("-")
        if start != self._start or not NUMBER.fullmatch(number):
            return self._oldest, True
        place = min(int(number), self.published)
        return max(place, self._oldest), place < self._oldest


class Reader:
    """Who has read `stream` up to `place`, in the event loop that made it. `has_gap`: some before that are gone."""

    def __init__(self, stream: EventStream, place: int, has_gap: bool) -> None:
        self.has_gap = has_gap
        self._stream = stream
        self._place = place
        self._loop = asyncio.get_running_loop()
        self._news = asyncio.Event()
        self._cut = asyncio.Event()
        self._is_over = False

    @property
    def last_id(self) -> str:
        """How far it has read."""
        return self._stream.id_at(self._place)

    @property
    def is_too_slow(self) -> bool:
        """Whether what it would read next is gone."""
        return self._stream.has_passed(self._place)

    def wake(self) -> None:
        """There are news. Any thread."""
        self._call(self._news)
        if self.is_too_slow:
            self._call(self._cut)

    def end(self) -> None:
        """There will be no more. Any thread."""
        self._is_over = True
        self._call(self._news)

    async def cut(self) -> None:
        """Returns when it has become too slow."""
        await self._cut.wait()

    async def next(self) -> list[bytes]:
        """The events that come next; none after HEARTBEAT_S without any. Raises StreamEndedError."""
        self._news.clear()
        if not (events := self._ready()):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), HEARTBEAT_S)
            events = self._ready()
        self._place += len(events)
        return events

    def _ready(self) -> list[bytes]:
        if self._is_over:
            raise StreamEndedError
        return self._stream.after(self._place)

    def _call(self, event: asyncio.Event) -> None:
        with contextlib.suppress(RuntimeError):  # its loop has ended
            self._loop.call_soon_threadsafe(event.set)


class EventResponse(Response):
    """Streams to who asks, until it leaves, `limit` events (None: any number) were sent, or `life_s` is over."""

    media_type = "text/event-stream"

    def __init__(self, stream: EventStream, last_id: str, limit: int | None, life_s: float) -> None:
        super().__init__(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._stream, self._last_id, self._limit, self._life_s = stream, last_id, limit, life_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        try:
            with self._stream.reader(self._last_id) as reader:
                await self._serve(reader, receive, send)
        except TooManyReadersError:
            detail = f"{READERS_MAX} read events already; come again later"
            raise HTTPException(HTTPStatus.SERVICE_UNAVAILABLE, detail, {"Retry-After": "1"}) from None

    async def _serve(self, reader: Reader, receive: Receive, send: Send) -> None:
        """Whatever ends first ends all: a reader that takes nothing holds up `send` for ever."""
        tasks = [asyncio.ensure_future(each) for each in (self._send(reader, send), _departure(receive), reader.cut())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        if reader.is_too_slow:
            LOG.warning("a reader of /v1/events was cut off: it reads too slowly")

    async def _send(self, reader: Reader, send: Send) -> None:
        await send({"type": "http.response.start", "status": HTTPStatus.OK, "headers": self.raw_headers})
        await _write(send, _head(reader))
        with contextlib.suppress(TimeoutError, StreamEndedError):
            async with asyncio.timeout(self._life_s):
                await self._send_events(reader, send)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _send_events(self, reader: Reader, send: Send) -> None:
        left = self._limit
        while left is None or left > 0:
            events = (await reader.next())[:left]
            await _write(send, b"".join(events) or b": nothing new\n\n")
            left = None if left is None else left - len(events)


def add_events(app: FastAPI, stream: EventStream) -> None:
    """Have `app` serve `stream`."""

    @app.get("/v1/events", response_class=Response, responses=_DESCRIPTION)
    async def events(
        limit: Annotated[int | None, Query(ge=1, description="end after so many events")] = None,
        timeout: Annotated[float, Query(ge=0, le=LIFE_S, description="end after so many seconds")] = LIFE_S,
        last_event_id: Annotated[str, Header(description="the last id that was read: what came after it, first")] = "",
    ) -> Response:
        """What happens in the domain, as server-sent events: channels, states of ends, misses, troubles.

        Without Last-Event-ID what comes from now on. The event `gap` says that some are gone that would have come next.
        """
        return EventResponse(stream, last_event_id, limit, timeout)


_DESCRIPTION: Responses = {
    200: {
        "description": "The data of each event is a JSON object; its `kind` is the event's name.",
        "content": {
            "text/event-stream": {
                "schema": {"type": "string"},
                "examples": {
                    "state": {"value": "id: 18f-7\nevent: state\ndata: {...}\n\n"},
                },
            }
        },
    },
    **describing(HTTPStatus.SERVICE_UNAVAILABLE),
}


def _event(event_id: str, notice: Notice) -> bytes:
    return f"id: {event_id}\nevent: {notice.kind}\ndata: {notice.model_dump_json()}\n\n".encode()


def _head(reader: Reader) -> bytes:
    """What a stream begins with: from where to resume, also if nothing follows."""
    gap = "event: gap\ndata: {}\n" if reader.has_gap else ""
    return f"retry: {RESUME_MS}\nid: {reader.last_id}\n{gap}\n".encode()


async def _write(send: Send, body: bytes) -> None:
    await send({"type": "http.response.body", "body": body, "more_body": True})


async def _departure(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
