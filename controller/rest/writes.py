"""Changes of channels that are asked for over REST: the same admission and the same store as a topology file's.

Guarantee: what is asked twice is done once. A change waits for the store in one of the server's worker threads; so that
reading goes on while the store does not answer, only some may wait.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Annotated, Any, Protocol

from fastapi import Body, Depends, FastAPI, Header, Response
from fastapi.security import HTTPBearer

from controller.errors import CannotRun, Conflict, Outdated, UnknownChannel
from controller.model import Channel, Network
from controller.rest.problems import InvalidProblem, RefusedProblem, Responses, describing
from controller.rest.resources import WrittenView
from controller.store.decisions import Clerk, Decision
from controller.store.records import Change, Owner, Record, Snapshot
from controller.topology_file.entry import NO_LABEL, ChannelReader, entry_of, merged
from controller.topology_file.schema import channel_schema

WAITING_MAX = 16
JSON = "application/json"
MERGE_PATCH = "application/merge-patch+json"
STANDING_DONE = ("installed", "degraded")


class Changeable(Protocol):
    """The store, as a controller.store.link.StoreLink reaches it."""

    clerk: Clerk

    def change(self, decision: Decision) -> Snapshot: ...


@dataclass(frozen=True)
class Preconditions:
    """What there is to be before a write, as `If-Match` and `If-None-Match` say it (RFC 9110, 13.1): ETags, or `*`."""

    match: str | None = None
    none_match: str | None = None

    def require(self, name: str, stored: Record | None) -> None:
        """Of `stored`, which is what there is of the channel `name`. Raises Outdated."""
        if self.match is not None and not _is_named(stored, self.match):
            what = f"has version {stored.version}" if stored else "is not there"
            raise Outdated(f"channel '{name}' {what}; read it again, and ask again")
        if self.none_match is not None and _is_named(stored, self.none_match.replace("W/", "")):
            raise Outdated(f"channel '{name}' is there already")


def _is_named(stored: Record | None, header: str) -> bool:
    """Whether one of the strong ETags in `header` is that of `stored`; a weak one never is."""
    versions = map(int, re.findall(r'(?<!W/)"(\d{1,18})"', header, re.ASCII))
    return stored is not None and (header.strip() == "*" or stored.version in versions)


ANYTHING = Preconditions()


class Writer:
    """Makes changes of `store` out of what is asked for, in `network`. Any thread.

    Every method raises CannotRun when the store does not answer, Conflict or NotAdmitted when it refuses, and Outdated
    when the channel is not as its Preconditions have it.
    """

    def __init__(self, network: Network, store: Changeable) -> None:
        self._network = network
        self._store = store
        self._reader = ChannelReader(network)
        self._turns = threading.BoundedSemaphore(WAITING_MAX)

    @property
    def ends(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The names that can talk, and those that can listen."""
        vms = tuple(self._network.vms)
        return vms, (*vms, *self._network.hosts)

    def add(self, entry: Mapping[str, Any], preconditions: Preconditions = ANYTHING) -> WrittenView:
        """There is to be the channel of `entry`, which has its `name` too. Raises InvalidChannel."""
        contract = {key: value for key, value in entry.items() if key != "name"}
        channel = self._reader.channel(_name(entry), contract)

        def decide(before: Snapshot) -> Change | None:
            stored = before.records.get(channel.name)
            preconditions.require(channel.name, stored)
            if stored is not None and stored.owner is Owner.REST and not _is_same(channel, stored):
                raise Conflict(f"channel '{channel.name}' is there already and differs; change it by PATCH")
            return self._store.clerk.put(channel, Owner.REST)(before)

        return self._written(channel.name, self._change(decide))

    def change(self, name: str, patch: Mapping[str, Any], preconditions: Preconditions = ANYTHING) -> WrittenView:
        """The channel `name` after `patch` (RFC 7396). Raises UnknownChannel, InvalidChannel."""

        def decide(before: Snapshot) -> Change | None:
            stored = _required(before, name, preconditions)
            channel = self._reader.channel(name, merged(entry_of(stored.channel), patch))
            return self._store.clerk.put(channel, Owner.REST)(before)

        return self._written(name, self._change(decide))

    def remove(self, name: str, preconditions: Preconditions = ANYTHING) -> None:
        """There is to be no channel `name`; it may be a guest's. Raises UnknownChannel if there is none."""

        def decide(before: Snapshot) -> Change | None:
            owner = _required(before, name, preconditions).owner
            return self._store.clerk.remove(name, Owner.GUEST if owner is Owner.GUEST else Owner.REST)(before)

        self._change(decide)

    def _change(self, decide: Decision) -> Snapshot:
        if not self._turns.acquire(blocking=False):
            raise CannotRun(f"{WAITING_MAX} changes wait for the store already", "try again in a moment")
        try:
            return self._store.change(decide)
        finally:
            self._turns.release()

    def _written(self, name: str, after: Snapshot) -> WrittenView:
        if name not in after.records:
            raise Outdated(f"channel '{name}' has been removed meanwhile")
        record = after.records[name]
        talker_domain = self._network.talker_domain(record.channel)
        return WrittenView(
            name=name,
            owner=record.owner,
            version=record.version,
            channel_label=record.channel.label,
            is_installed=self._is_installed(record),
            url=f"{self._network.hypervisors[talker_domain].controller.rest_url}/v1/channels/{name}",
        )

    def _is_installed(self, record: Record) -> bool:
        """Whether the controllers of its ends, those that there are, have said so of this version."""
        has_listener_end = len(set(self._network.domains(record.channel))) > 1
        ends = (record.talker, record.listener) if has_listener_end else (record.talker,)
        return all(end.state in STANDING_DONE for end in ends)


def _name(entry: Mapping[str, Any]) -> str:
    """What `entry` has for a name, right or wrong."""
    name = entry.get("name", "")
    return name if isinstance(name, str) else str(name)


def _is_same(channel: Channel, stored: Record) -> bool:
    return replace(stored.channel, label=NO_LABEL) == channel


def _required(before: Snapshot, name: str, preconditions: Preconditions) -> Record:
    if name not in before.records:
        raise UnknownChannel(f"there is no channel '{name}'")
    preconditions.require(name, before.records[name])
    return before.records[name]


def etag(version: int) -> str:
    return f'"{version}"'


IfMatch = Annotated[str | None, Header(description="The ETag that the channel is to have, or *.")]
IfNoneMatch = Annotated[str | None, Header(description="An ETag that it is not to have, or *: there is to be none.")]


def _preconditions(if_match: IfMatch = None, if_none_match: IfNoneMatch = None) -> Preconditions:
    return Preconditions(if_match, if_none_match)


Asked = Annotated[Preconditions, Depends(_preconditions)]
Entry = Annotated[dict[str, Any], Body(media_type=JSON)]
Patch = Annotated[dict[str, Any], Body(media_type=MERGE_PATCH)]

_ANY_WRITE: Responses = {
    **describing(
        HTTPStatus.UNAUTHORIZED,
        HTTPStatus.FORBIDDEN,
        HTTPStatus.REQUEST_TIMEOUT,
        HTTPStatus.PRECONDITION_FAILED,
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        HTTPStatus.TOO_MANY_REQUESTS,
        HTTPStatus.SERVICE_UNAVAILABLE,
    ),
    **describing(HTTPStatus.CONFLICT, model=RefusedProblem),
}
_INVALID = describing(HTTPStatus.UNPROCESSABLE_ENTITY, model=InvalidProblem)
_UNKNOWN = describing(HTTPStatus.NOT_FOUND)
_UNDER_WAY: Responses = {
    202: {"model": WrittenView, "description": "Accepted; not installed yet: `Location` says how it stands"}
}


def add_writes(app: FastAPI, writer: Writer) -> None:
    """The routes that change channels."""
    may_write = [Depends(HTTPBearer(auto_error=False, scheme_name="token"))]
    body = _bodies(*writer.ends)

    @app.post("/v1/channels", dependencies=may_write, responses={**_ANY_WRITE, **_INVALID, **_UNDER_WAY},
              openapi_extra=body(JSON, is_patch=False))  # fmt: skip
    def add(entry: Entry, preconditions: Asked, response: Response) -> WrittenView:
        """Add a channel: `name`, and what a topology file says of one. The same again changes nothing."""
        return _answer(response, writer.add(entry, preconditions))

    @app.patch("/v1/channels/{name}", dependencies=may_write,
               responses={**_ANY_WRITE, **_INVALID, **_UNKNOWN, **_UNDER_WAY},
               openapi_extra=body(MERGE_PATCH, is_patch=True))  # fmt: skip
    def change(name: str, patch: Patch, preconditions: Asked, response: Response) -> WrittenView:
        """Change what the body names of a channel (RFC 7396); null puts back the default. All else stays."""
        return _answer(response, writer.change(name, patch, preconditions))

    @app.delete("/v1/channels/{name}", status_code=204, dependencies=may_write, responses={**_ANY_WRITE, **_UNKNOWN})
    def remove(name: str, preconditions: Asked) -> None:
        """Remove a channel."""
        writer.remove(name, preconditions)


def _answer(response: Response, written: WrittenView) -> WrittenView:
    response.headers.update({"ETag": etag(written.version), "Location": written.url})
    response.status_code = HTTPStatus.OK if written.is_installed else HTTPStatus.ACCEPTED
    return written


def _bodies(talkers: tuple[str, ...], listeners: tuple[str, ...]) -> Callable[..., dict[str, Any]]:
    """What the description says of bodies: the schema of a file's entry, with the names that this network has."""

    def body(media_type: str, is_patch: bool) -> dict[str, Any]:
        schema = channel_schema()
        keys = dict(schema["properties"])
        keys["from"] = {**keys["from"], "enum": list(talkers)}
        keys["to"] = {**keys["to"], "enum": list(listeners)}
        if is_patch:
            keys = {key: {"anyOf": [value, {"type": "null"}]} for key, value in keys.items()}
        else:
            keys["name"] = {"type": "string", "pattern": "^[a-z][a-z0-9-]*$", "maxLength": 63}
        required = [] if is_patch else ["name", *schema["required"]]
        described = {"type": "object", "properties": keys, "required": required, "additionalProperties": False}
        return {"requestBody": {"required": True, "content": {media_type: {"schema": described}}}}

    return body
