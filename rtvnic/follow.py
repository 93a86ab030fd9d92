"""Follows what running controllers publish (`GET /v1/events`), each in a thread, from where the connection broke off.

`follow` returns when the caller is interrupted. Troubles of the connection go to stderr, once for each.
"""

from __future__ import annotations

import json
import queue
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import httpx

from controller.errors import RtvnicError
from rtvnic.connection import granted

RETRY_S = 1.0
TIMEOUT = httpx.Timeout(5.0, read=45.0)
"""A controller gives a sign of life every 15 s."""

Json = dict[str, Any]


@dataclass(frozen=True)
class Event:
    """One that a controller published: its id, name and data. Without a name it has an id only: so far one has read."""

    id: str
    name: str
    data: Json


def follow(clients: Iterable[httpx.Client], names: frozenset[str]) -> Iterator[Json]:
    """The data of all events of these `names` that the controllers of `clients` publish from now on. Without end."""
    found: queue.SimpleQueue[Json] = queue.SimpleQueue()
    for client in clients:
        threading.Thread(target=_keep_reading, args=(client, names, found), daemon=True).start()
    while True:
        yield found.get()


def _keep_reading(client: httpx.Client, names: frozenset[str], found: queue.SimpleQueue[Json]) -> None:
    url, last_id, trouble = client.base_url, "", ""
    while True:
        try:
            for event in _events(client, last_id):
                trouble, last_id = "", event.id or last_id
                if event.name == "gap":
                    _say(f"some events of {url} are lost: it was started again, or the connection was down too long")
                elif event.name in names:
                    found.put(event.data)
        except (httpx.HTTPError, ValueError, RtvnicError) as error:
            if str(error) != trouble:
                _say(f"no events from {url}: {error or type(error).__name__}")
            trouble = str(error)
        time.sleep(RETRY_S)


def _events(client: httpx.Client, last_id: str) -> Iterator[Event]:
    """Until the controller ends the stream. Raises httpx.HTTPError, ValueError for what is no event, and
    AnswerIsNo or CannotRun if it begins none."""
    headers = {"Last-Event-ID": last_id} if last_id else {}
    with client.stream("GET", "/v1/events", headers=headers) as answer:
        if not answer.is_success:
            answer.read()
        granted(answer, str(client.base_url))
        yield from parsed(answer.iter_lines())


def parsed(lines: Iterable[str]) -> Iterator[Event]:
    """The events in the lines of a stream. Raises ValueError for data that are not JSON."""
    fields: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(":")
        if line:
            fields[name] = value.removeprefix(" ")
            continue
        if "data" in fields:
            yield Event(fields.get("id", ""), fields.get("event", ""), json.loads(fields["data"]))
        elif "id" in fields:
            yield Event(fields["id"], "", {})
        fields = {}


def _say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)
