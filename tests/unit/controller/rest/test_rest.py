"""The REST API, asked as a client would: through ASGI, and once over a socket."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

import httpx
import pytest
from fastapi import FastAPI
from support.domains import Driver, books, peer_tells, statistics, summary
from support.examples import distinct
from support.fake_store import ENDPOINT, FakeStore, asking
from support.networks import two_hypervisors, with_quota

from controller.domain.domain import Domain
from controller.domain.events import Missed, MissesReported, QueueCount, QueuesReported, ShimReported
from controller.domain.reports import Role
from controller.model import Endpoint, Scheduler, SwitchKind
from controller.openflow.counts import Traffic
from controller.openflow.pipeline import Purpose
from controller.peering.messages import MissReport
from controller.rest import server as rest
from controller.rest import view
from controller.rest.event_stream import EventStream
from controller.rest.gate import Door
from controller.rest.problems import PROBLEM
from controller.rest.server import RestServer
from controller.rest.writes import Writer

Answer = TypeVar("Answer")
NETWORK = with_quota(distinct(two_hypervisors(kind=SwitchKind.PLAIN)), "vm1")
LISTS = ["channels", "classes", "queues", "switches", "peers", "misses", "miss_reports", "guests"]
OBJECTS = ["clock", "topology", "health", "ends", "shim"]
OTHER_TYPES = {"/metrics": "text/plain", "/v1/events": "text/event-stream"}


def ask(
    domain: rest.Readable, path: str, method: str = "GET", endpoint: Endpoint = ENDPOINT, **headers: str
) -> httpx.Response:
    """What the API of `domain` answers to who comes in by TCP."""
    return asking(domain, FakeStore(NETWORK), NETWORK, [(method, path, {"headers": headers})], endpoint, Door())[0]


def whole_api(domain: rest.Readable, endpoint: Endpoint = ENDPOINT) -> FastAPI:
    return rest.api(domain, Writer(NETWORK, FakeStore(NETWORK)), EventStream(), endpoint, Door())


@pytest.fixture
def left() -> Driver:
    """The domain `left` at work: all installed, and something counted everywhere."""
    driver = Driver(NETWORK, "left")
    driver.connect()
    driver.hear(
        peer_tells(NETWORK, "right", Role.LISTENER, packets=97, missed=2),
        QueuesReported("left", (QueueCount(1, 5, Traffic(3, 300), 0),)),
        ShimReported(statistics({17: books(queueing_delay=summary(100, 2_000))}, {})),
        Missed(({"label": 17, "lateness_ns": 5, "at_ns": 99},)),
        MissesReported("right", (MissReport("video", 2, 97, 700, 500, 100, 2, 0, 99),)),
    )
    driver.count("left", Purpose.TALKER, 17, Traffic(100, 150_000))
    return driver


@dataclass(frozen=True)
class Failing:
    """A domain of which nothing can be learnt."""

    error: Exception

    def ask(self, question: Callable[[Domain], Answer]) -> Answer:
        raise self.error


# Every route


@pytest.mark.parametrize("name", LISTS)
def test_a_list_is_what_its_view_says(left: Driver, name: str) -> None:
    answer = ask(left, f"/v1/{name}")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    models = getattr(view, name)(left.domain)
    assert models
    assert answer.json() == [model.model_dump(mode="json") for model in models]


@pytest.mark.parametrize("name", OBJECTS)
def test_an_object_is_what_its_view_says(left: Driver, name: str) -> None:
    answer = ask(left, f"/v1/{name}")
    assert answer.status_code == 200
    assert answer.json() == getattr(view, name)(left.domain).model_dump(mode="json")


def test_one_channel(left: Driver) -> None:
    found = ask(left, "/v1/channels/video").json()
    assert found == ask(left, "/v1/channels").json()[0]
    assert (found["name"], found["state"], found["sent"], found["received"], found["lost"]) == (
        "video",
        "installed",
        100,
        97,
        3,
    )
    assert found["queueing_delay"] == summary(100, 2_000)
    assert found["lateness"]["p99"] is None


def test_lists_of_an_idle_domain_are_there_and_empty_where_nothing_is_known() -> None:
    idle = Driver(NETWORK, "left")
    found = {name: ask(idle, f"/v1/{name}").json() for name in LISTS}
    assert {name: len(entries) for name, entries in found.items()} == {
        "channels": 2,
        "classes": 2,
        "queues": 0,
        "switches": 1,
        "peers": 1,
        "miss_reports": 0,
        "misses": 0,
        "guests": 1,
    }


def test_what_a_peer_asks_for_can_be_read_as_what_it_expects(left: Driver) -> None:
    assert rest.EndReports.model_validate_json(ask(left, "/v1/ends").content) == view.ends(left.domain)


def test_a_domain_that_is_not_well_says_so_with_503() -> None:
    answer = ask(Driver(NETWORK, "left"), "/v1/health")
    assert answer.status_code == 503
    assert answer.json()["is_healthy"] is False
    assert "the shim of left has not answered yet" in answer.json()["problems"]


def test_the_baseline_has_answers_too() -> None:
    fifo = Driver(NETWORK.with_scheduler(Scheduler.FIFO), "left")
    assert {channel["state"] for channel in ask(fifo, "/v1/channels").json()} == {"off"}
    assert all(ask(fifo, f"/v1/{name}").status_code == 200 for name in LISTS)


# Errors


def problem(answer: httpx.Response) -> dict[str, Any]:
    assert answer.headers["content-type"] == PROBLEM
    found: dict[str, Any] = answer.json()
    assert found["status"] == answer.status_code
    return found


def test_an_unknown_channel(left: Driver) -> None:
    assert problem(ask(left, "/v1/channels/radio")) == {
        "type": "about:blank",
        "title": "Not Found",
        "status": 404,
        "detail": "this domain has no channel 'radio'; see /v1/channels",
    }


def test_an_unknown_path(left: Driver) -> None:
    found = problem(ask(left, "/v2/channels"))
    assert (found["status"], found["detail"]) == (404, "GET /v2/channels is not served here; see /docs")


@pytest.mark.parametrize("path", ["/v1/channels", "/v1/channels/video", "/v1/health", "/metrics"])
def test_a_busy_domain_is_asked_again_and_no_defect(path: str, caplog: pytest.LogCaptureFixture) -> None:
    answer = ask(Failing(TimeoutError()), path)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert problem(answer)["detail"] == "the domain is busy; try again in a moment"
    assert caplog.text == ""


def test_a_defect_is_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    found = problem(ask(Failing(ZeroDivisionError()), "/v1/channels"))
    assert (found["status"], found["detail"]) == (500, "the controller's log says more")
    assert "GET /v1/channels: ZeroDivisionError()" in caplog.text


def test_a_request_that_does_not_fit_its_route() -> None:
    app = whole_api(Failing(TimeoutError()))

    @app.get("/v1/number/{value}")
    def number(value: int) -> int:
        return value

    async def answer() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=ENDPOINT.rest_url) as client:
            return await client.get("/v1/number/x")

    found = problem(asyncio.run(answer()))
    assert found["status"] == 422
    assert found["detail"].startswith("path.value: Input should be a valid integer")


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8080", "127.0.0.1.evil.example", "localhost.evil.example", "", "[bad"]
)
def test_a_request_for_another_host_is_refused(left: Driver, host: str) -> None:
    answer = ask(left, "/v1/channels", host=host)
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"
    assert "video" not in answer.text


@pytest.mark.parametrize(
    "host", ["localhost", "127.0.0.1", "localhost:8080", "127.0.0.1:8181", "[::1]:8080", "LOCALHOST"]
)
def test_a_request_for_this_machine_is_answered(left: Driver, host: str) -> None:
    assert ask(left, "/v1/channels", host=host).status_code == 200


@pytest.mark.parametrize("address", ["::1", "10.9.8.7"])
def test_a_request_for_the_address_of_the_file_is_answered(left: Driver, address: str) -> None:
    assert ask(left, "/v1/channels", endpoint=Endpoint(address, 6653, 8080)).status_code == 200


# The page for people, and the description for programs

OUTSIDE = re.compile(r"""(?:https?:)?//[^\s"'<>]+""")


def test_the_page_needs_nothing_from_outside(left: Driver) -> None:
    page = ask(left, "/docs")
    assert page.status_code == 200
    scripts = re.findall(r"""(?:src|href)="([^"]+)""", page.text)
    assert len(scripts) == 3
    assert all(each.startswith("/") and not each.startswith("//") for each in scripts)
    assert [each for each in OUTSIDE.findall(page.text) if not each.startswith("//`")] == []
    for each in scripts:
        assert ask(left, each).status_code == 200


def test_the_description_names_every_route_and_every_model(left: Driver) -> None:
    description = ask(left, "/openapi.json").json()
    assert set(description["paths"]) == {"/metrics"} | {
        f"/v1/{name}" for name in [*LISTS, *OBJECTS, "channels/{name}", "events", "handlers"]
    }
    methods = {path: set(operations) for path, operations in description["paths"].items() if set(operations) != {"get"}}
    assert methods == {"/v1/channels": {"get", "post"}, "/v1/channels/{name}": {"get", "patch", "delete"}}
    schemas = description["components"]["schemas"]
    assert {"ChannelView", "Problem", "Summary"} <= set(schemas)
    references = re.findall(r'"#/components/schemas/(\w+)"', json.dumps(description))
    assert set(references) <= set(schemas)
    assert all(each["description"] for operations in description["paths"].values() for each in operations.values())


def test_the_description_gives_every_error_its_media_type(left: Driver) -> None:
    description = ask(left, "/openapi.json").json()
    for path, operations in description["paths"].items():
        for operation in operations.values():
            for status, response in operation["responses"].items():
                is_error = int(status) >= 400 and "HealthView" not in json.dumps(response)
                said = OTHER_TYPES.get(path, "application/json")
                assert set(response.get("content", {})) <= {PROBLEM if is_error else said}


def test_every_field_of_an_answer_is_always_there(left: Driver) -> None:
    schemas = ask(left, "/openapi.json").json()["components"]["schemas"]
    for name, schema in schemas.items():
        if name.endswith("View") or name in ("Summary", "EndReport", "Problem"):
            assert set(schema["required"]) == set(schema["properties"]), name


# Over a socket


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as made:
        yield made


def test_a_server_answers_until_it_is_stopped(left: Driver, listener: socket.socket) -> None:
    server = RestServer(whole_api(left), listener)
    server.start()
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    with httpx.Client(trust_env=False) as client:
        assert client.get(f"{url}/v1/channels/video").json()["sent"] == 100
        server.stop()
        with pytest.raises(httpx.TransportError):
            client.get(f"{url}/v1/channels")


@pytest.mark.parametrize("said", [b"", b"GET /v1/channels HTTP/1.1\r\n"])
def test_who_does_not_say_a_whole_request_is_hung_up_on(
    left: Driver, listener: socket.socket, monkeypatch: pytest.MonkeyPatch, said: bytes
) -> None:
    monkeypatch.setattr(rest, "REQUEST_TIMEOUT_S", 0.05)
    server = RestServer(whole_api(left), listener)
    server.start()
    with socket.create_connection(listener.getsockname(), 10) as connection:
        connection.sendall(said)
        with suppress(ConnectionResetError):
            assert connection.recv(1) == b""
    server.stop()


def test_no_more_connections_than_there_is_room_for(
    left: Driver, listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rest, "CONNECTIONS_MAX", 1)
    server = RestServer(whole_api(left), listener)
    server.start()
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1/channels"
    with httpx.Client(trust_env=False) as first, httpx.Client(trust_env=False) as second:
        assert first.get(url).status_code == 200
        with pytest.raises(httpx.TransportError):
            second.get(url)
        assert first.get(url).status_code == 200
    server.stop()


def test_the_head_of_a_request_has_a_largest_size(left: Driver, listener: socket.socket) -> None:
    server = RestServer(whole_api(left), listener)
    server.start()
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1/channels"
    with httpx.Client(trust_env=False) as client, suppress(httpx.TransportError):  # hung up on while it still sends
        assert client.get(url, headers={"X-Long": "x" * (1 << 17)}).status_code == 400
    server.stop()


def test_a_server_that_does_not_start_is_given_up(
    left: Driver, listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rest, "START_TIMEOUT_S", 0.0)
    server = RestServer(whole_api(left), listener)
    monkeypatch.setattr(server, "_thread", threading.Thread(target=lambda: None))
    with pytest.raises(TimeoutError, match="the REST server does not start"):
        server.start()
