"""`GET /v1/events`: readers are told in order, once, and resume where they were; slow ones are cut off."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from controller.domain.lifecycle import State
from controller.domain.notices import Change, MissNotice, Notice
from controller.domain.reports import Role
from controller.rest import event_stream
from controller.rest.event_stream import CHUNK, EventStream, TooManyReadersError, add_events
from controller.rest.problems import add_problems


def miss(count: int) -> MissNotice:
    return MissNotice(domain="left", at_ns=1, channel="video", count=count, worst_lateness_ns=5, clock_error_ns=0)


FIELDS = {
    "domain": "left",
    "at_ns": 1,
    "channel": "video",
    "change": Change.ADDED,
    "role": Role.TALKER,
    "state": State.INSTALLED,
    "why": "",
    "count": 1,
    "worst_lateness_ns": 5,
    "adapted_ns": 5,
    "of": "shim",
    "name": "left",
    "is_over": False,
    "clock_error_ns": 0,
}
"""Of all kinds of notices."""


def misses(*counts: int) -> list[Notice]:
    return [miss(count) for count in counts]


def counts(text: str) -> list[int]:
    """Of the events in `text`, in order."""
    return [int(each) for each in re.findall(r'"count":(\d+)', text)]


@pytest.fixture
def stream() -> EventStream:
    return EventStream("start")


@pytest.fixture
def app(stream: EventStream) -> FastAPI:
    made = FastAPI()
    add_events(made, stream)
    add_problems(made)
    return made


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(event_stream, "HEARTBEAT_S", 0.01)
    yield


def get(app: FastAPI, query: str, **headers: str) -> httpx.Response:
    async def answer() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
            return await client.get(f"/v1/events?{query}", headers=headers)

    return asyncio.run(answer())


def test_who_resumes_reads_what_came_after(app: FastAPI, stream: EventStream) -> None:
    stream.publish(misses(1, 2, 3))
    answer = get(app, "limit=2", **{"Last-Event-ID": "start-1"})
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert counts(answer.text) == [2, 3]
    assert f"id: start-2\nevent: misses\ndata: {miss(2).model_dump_json()}\n\n" in answer.text
    assert "event: gap" not in answer.text


@pytest.mark.parametrize("published", [0, 2])
def test_who_was_told_nothing_resumes_where_it_came_in(app: FastAPI, stream: EventStream, published: int) -> None:
    stream.publish(misses(*range(published)))
    (last_id,) = re.findall("^id: (.*)$", get(app, "timeout=0").text, re.MULTILINE)
    stream.publish(misses(7))
    answer = get(app, "limit=1", **{"Last-Event-ID": last_id})
    assert (counts(answer.text), answer.text.count("event: gap")) == ([7], 0)


@pytest.mark.parametrize("kind", Notice.__subclasses__())
def test_every_notice_is_an_event_of_its_kind(app: FastAPI, stream: EventStream, kind: type[Notice]) -> None:
    notice = kind.model_validate(FIELDS)
    stream.publish([*misses(1), notice])
    told = get(app, "limit=1", **{"Last-Event-ID": "start-1"}).text
    assert f"\nevent: {notice.kind}\ndata: {notice.model_dump_json()}\n\n" in told
    documented = Path(__file__).parents[4].joinpath("docs/rest.md").read_text()
    assert f"| `{notice.kind}` |" in documented


def test_who_comes_new_reads_nothing_old(app: FastAPI, stream: EventStream) -> None:
    stream.publish(misses(1))
    assert counts(get(app, "timeout=0").text) == []


@pytest.mark.parametrize("last", ["other-0", "nonsense", "start-", "start--1", "start-" + "9" * 5000])
def test_an_id_of_another_start_is_a_gap_and_all_that_is_there(app: FastAPI, stream: EventStream, last: str) -> None:
    stream.publish(misses(1, 2))
    answer = get(app, "limit=2", **{"Last-Event-ID": last})
    assert (counts(answer.text), answer.text.count("event: gap")) == ([1, 2], 1)


def test_what_the_ring_has_lost_is_a_gap(app: FastAPI, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_stream, "KEPT", 3)
    small = EventStream("start")
    add_events(made := FastAPI(), small)
    small.publish(misses(*range(10)))
    answer = get(made, "limit=3", **{"Last-Event-ID": "start-3"})
    assert (counts(answer.text), answer.text.count("event: gap")) == ([7, 8, 9], 1)
    assert "event: gap" not in get(made, "limit=3", **{"Last-Event-ID": "start-7"}).text


def test_an_idle_stream_shows_that_it_is_alive_and_ends_in_time(app: FastAPI) -> None:
    text = get(app, "timeout=0.2").text
    assert text.startswith("retry: 1000\nid: start-0\n\n")
    assert ": nothing new\n\n" in text


@pytest.mark.parametrize("query", ["limit=0", "timeout=-1", "timeout=601", "timeout=nan", "limit=x"])
def test_a_request_that_is_not_valid(app: FastAPI, query: str) -> None:
    assert get(app, query).status_code == 422


def test_readers_are_told_in_order_while_others_publish(stream: EventStream) -> None:
    async def read() -> str:
        with stream.reader() as reader:
            publishing = asyncio.get_running_loop().run_in_executor(None, _publish_one_by_one, stream)
            text = b""
            while len(counts(text.decode())) < 1000:
                text += b"".join(await reader.next())
            await publishing
            return text.decode()

    assert counts(asyncio.run(read())) == list(range(1000))
    assert stream.readers == 0


def _publish_one_by_one(stream: EventStream) -> None:
    for count in range(1000):
        stream.publish(misses(count))


def test_there_are_only_so_many_readers(app: FastAPI, stream: EventStream, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_stream, "READERS_MAX", 1)

    async def two() -> None:
        with stream.reader(), pytest.raises(TooManyReadersError), stream.reader():
            pass

    asyncio.run(two())
    monkeypatch.setattr(event_stream, "READERS_MAX", 0)
    answer = get(app, "timeout=0")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert "come again later" in answer.json()["detail"]


def test_a_reader_that_takes_nothing_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_stream, "KEPT", 2 * CHUNK)
    stream = EventStream("start")
    stream.publish(misses(1))

    async def stuck(*_: Any) -> None:
        await asyncio.Event().wait()

    async def serve() -> None:
        response = event_stream.EventResponse(stream, "start-1", None, 600)
        serving = asyncio.ensure_future(response({}, stuck, stuck))  # type: ignore[arg-type]
        while not stream.readers:
            await asyncio.sleep(0)
        stream.publish(misses(*range(2 * CHUNK + 1)))
        await asyncio.wait_for(serving, 20)

    asyncio.run(serve())
    assert (stream.readers, stream.cut_off) == (0, 1)


def test_a_controller_that_ends_ends_its_streams(stream: EventStream) -> None:
    async def read() -> None:
        with stream.reader() as reader:
            stream.close()
            with pytest.raises(event_stream.StreamEndedError):
                await reader.next()

    asyncio.run(read())
    assert stream.cut_off == 0
