"""The controller's side of its shim's socket: gives it settings and channels, asks for statistics, hears of misses.

One thread, which connects again whenever the shim has ended. `set` and `ask` leave word for it and return at once; any
thread may call them. What a shim has is not told again: at each change the difference is sent, and a shim that was
there before us is first asked for the channels that it has. The protocol is that of `dataplane.protocol`: a JSON object
on each line, answered in turn.
"""

from __future__ import annotations

import json
import logging
import os
import selectors
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

from controller.domain.events import Event, MissCount, Missed, ShimGone, ShimReady, ShimReported
from controller.domain.shim_terms import Settings

LOG = logging.getLogger(__name__)
RETRY_S = 0.2
ANSWER_TIMEOUT_S = 5.0
LINE_BYTES_MAX = 1 << 20
CHANNELS_PER_REQUEST = 500
"""Terms take about 160 bytes, books about 1,000; a line holds 1 MiB."""

STATISTICS = ("egress", "ingress", "bounds_ns", "classes", "channels")
SINGLE_MISS = ("label", "lateness_ns", "at_ns")
MISS_COUNT = tuple(field.name for field in fields(MissCount))
COUNTS = range(1 << 63)

Json = dict[str, Any]


class ShimRefusedError(Exception):
    """The shim's word on a request that it did not carry out."""


class ShimLink:
    """Keeps the shim at `path` set up as `set` has said last; what it says becomes events for `post`."""

    def __init__(self, path: Path, post: Callable[[Event], None]) -> None:
        self._path = path
        self._post = post
        self._wanted: tuple[int, Settings] | None = None
        self._is_asked = False
        self._word = os.eventfd(0, os.EFD_NONBLOCK)
        self._is_set = threading.Event()
        self._thread = threading.Thread(target=self._run, name="shim link", daemon=True)

    def start(self) -> None:
        """It connects once it has been told what to set."""
        self._thread.start()

    def set(self, revision: int, settings: Settings) -> None:
        """Have the shim take `settings`; ShimReady of this revision, or of a later one, says that it has."""
        self._wanted = (revision, settings)
        self._is_set.set()
        os.eventfd_write(self._word, 1)

    def ask(self) -> None:
        """Have the shim report its statistics, if it is there."""
        self._is_asked = True
        os.eventfd_write(self._word, 1)

    def _run(self) -> None:
        self._is_set.wait()
        while True:
            try:
                self._converse()
            except (OSError, ValueError, LookupError, TypeError, RecursionError, ShimRefusedError) as error:
                self._post(ShimGone(_reason(error)))
            time.sleep(RETRY_S)

    def _converse(self) -> None:
        """From connection to end. Raises why it ended."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection, selectors.DefaultSelector() as selector:
            connection.settimeout(ANSWER_TIMEOUT_S)
            connection.connect(str(self._path))
            selector.register(connection, selectors.EVENT_READ)
            selector.register(self._word, selectors.EVENT_READ)
            conversation = _Conversation(connection, self._post)
            self._is_asked = False
            while True:
                for key, _ in selector.select(conversation.patience_s()):
                    if key.fileobj is connection:
                        conversation.hear()
                    else:
                        os.eventfd_read(self._word)
                self._speak(conversation)

    def _speak(self, conversation: _Conversation) -> None:
        assert self._wanted is not None, "the thread waits for it"
        conversation.set(*self._wanted)
        if self._is_asked and conversation.is_set_up and not conversation.is_asking:
            self._is_asked = False
            conversation.ask(self._wanted[1].channels)


class _Conversation:
    """One connection: what was asked and is not answered yet, and what the shim has of what it was told.

    `is_asking` is true from `ask` until all statistics have come.
    """

    def __init__(self, connection: socket.socket, post: Callable[[Event], None]) -> None:
        self._connection = connection
        self._post = post
        self._data = bytearray()
        self._awaited: deque[Callable[[Json], None]] = deque()
        self._asked_s = 0.0
        self._held: Settings | None = None
        self._stale: Sequence[int] | None = None
        self._revision = 0
        self.is_set_up = False
        self.is_asking = False
        self._request({"op": "labels"}, self._on_labels)

    def patience_s(self) -> float:
        """How long the next answer may take. Raises TimeoutError when it has taken too long."""
        left_s = ANSWER_TIMEOUT_S
        if self._awaited:
            left_s += self._asked_s - time.monotonic()
            if left_s <= 0:
                raise TimeoutError
        return left_s

    def set(self, revision: int, settings: Settings) -> None:
        """Send what differs from what the shim has, once that is known."""
        if self._stale is None or revision == self._revision:
            return
        requests = list(_differences(self._held, settings, self._stale))
        if self._held is None:
            requests.append({"op": "subscribe", "to": ["misses"]})
        self._held, self._stale, self._revision = settings, (), revision
        for request in requests:
            self._request(request, _done)
        self._request({"op": "ready"}, partial(self._on_set, revision))

    def ask(self, labels: Collection[int]) -> None:
        """Ask for the statistics of the channels of `labels`, in parts that fit into lines."""
        self.is_asking = True
        books: Json = {}
        *first, last = _parts(sorted(labels)) or [[]]
        for part in first:
            self._request({"op": "statistics", "labels": part}, partial(self._on_part, books))
        self._request({"op": "statistics", "labels": last}, partial(self._on_last_part, books))

    def hear(self) -> None:
        """Take what has come. Raises OSError, and ValueError for what is no object on a line."""
        received = self._connection.recv(1 << 16)
        if not received:
            raise ConnectionResetError
        self._data += received
        *lines, self._data = self._data.split(b"\n")
        for line in lines:
            self._take(json.loads(line))
        if len(self._data) > LINE_BYTES_MAX:
            raise ValueError("it sent a line without an end")

    def _take(self, message: object) -> None:
        if not isinstance(message, dict):
            raise ValueError("it sent a line that is no JSON object")
        if message.get("event") == "misses":
            self._post(_missed(message))
        elif not self._awaited:
            raise ValueError("it answered what nobody asked")
        else:
            self._asked_s = time.monotonic()
            self._awaited.popleft()(message)

    def _request(self, request: Json, on_answer: Callable[[Json], None]) -> None:
        if not self._awaited:
            self._asked_s = time.monotonic()
        self._awaited.append(on_answer)
        self._connection.sendall(json.dumps(request).encode() + b"\n")

    def _on_labels(self, answer: Json) -> None:
        _done(answer)
        self._stale = list(answer["labels"])

    def _on_set(self, revision: int, answer: Json) -> None:
        _done(answer)
        self.is_set_up = True
        self._post(ShimReady(revision))

    def _on_part(self, books: Json, answer: Json) -> None:
        _check(answer, "refuses to tell its statistics")
        books |= answer["channels"]

    def _on_last_part(self, books: Json, answer: Json) -> None:
        self._on_part(books, answer)
        self.is_asking = False
        self._post(ShimReported({key: answer[key] for key in STATISTICS} | {"channels": books}))


def _differences(held: Settings | None, wanted: Settings, stale: Collection[int]) -> Iterator[Json]:
    """The requests that make a shim that has `held`, and channels of the labels `stale`, into what is wanted."""
    if held is None or held.link != wanted.link:
        yield {"op": "configure", **wanted.link}
    former = {} if held is None else held.channels
    for part in _parts(sorted({*stale, *former} - wanted.channels.keys())):
        yield {"op": "channels", "remove": part}
    for part in _parts([terms for label, terms in wanted.channels.items() if former.get(label) != terms]):
        yield {"op": "channels", "set": part}


def _parts(items: Sequence[Any]) -> list[Sequence[Any]]:
    return [items[at : at + CHANNELS_PER_REQUEST] for at in range(0, len(items), CHANNELS_PER_REQUEST)]


def _missed(event: Json) -> Missed:
    """What `event` tells. Raises ValueError, LookupError or TypeError if it is not as `dataplane.protocol` says."""
    singles = tuple({name: _count(each, name) for name in SINGLE_MISS} for each in event["misses"])
    counts = tuple(MissCount(**{name: _count(each, name) for name in MISS_COUNT}) for each in event["channels"])
    return Missed(singles, counts)


def _count(told: Json, name: str) -> int:
    count = told[name]
    if type(count) is not int or count not in COUNTS:
        raise ValueError(f"{name} is not an integer of 0 to {COUNTS.stop - 1}")
    return count


def _done(answer: Json) -> None:
    _check(answer, "refuses its settings")


def _check(answer: Json, refusal: str) -> None:
    if not answer.get("ok"):
        raise ShimRefusedError(f"{refusal}: {answer.get('error')}")


def _reason(error: Exception) -> str:
    match error:
        case ShimRefusedError():
            return str(error)
        case FileNotFoundError() | ConnectionRefusedError():
            return "is not running"
        case TimeoutError():
            return "does not answer"
        case ConnectionResetError() | BrokenPipeError():
            return "has closed the connection"
        case OSError():
            return f"is not reachable: {error}"
        case KeyError():
            return f"speaks badly: it left out {error}"
        case _:
            return f"speaks badly: {error}"
