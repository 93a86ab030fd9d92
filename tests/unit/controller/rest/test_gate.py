"""Who is let in to REST: by which way, with which token, how often, with how much."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.domains import Driver
from support.examples import example
from support.fake_store import ENDPOINT, FakeStore, asking

from controller.rest import gate
from controller.rest import server as rest
from controller.rest.access import RateLimit, Token, TokenRole
from controller.rest.event_stream import EventStream
from controller.rest.gate import BODY_MAX, Door
from controller.rest.problems import PROBLEM
from controller.rest.token_file import TokenFile, write_tokens
from controller.rest.writes import Writer

NETWORK = example("two_hypervisors")
DRIVER = Driver(NETWORK, "left")
ENTRY = {"name": "new", "from": "camera", "to": "screen", "deadline": "5ms", "min_rate": "1Mbps", "protocol": "udp",
         "dst_port": 7000}  # fmt: skip
WRITES = [("POST", "/v1/channels"), ("PATCH", "/v1/channels/new"), ("DELETE", "/v1/channels/new")]


@pytest.fixture
def tokens(tmp_path: Path) -> TokenFile:
    made = [Token.of(TokenRole.READ, "wall", "may-read"), Token.of(TokenRole.WRITE, "planner", "may-write")]
    write_tokens(tmp_path / "tokens", made)
    return TokenFile(tmp_path / "tokens")


def ask(door: Door, method: str, path: str, authorization: str | None = None) -> httpx.Response:
    options: dict[str, Any] = {"headers": {"authorization": authorization} if authorization else {}}
    if method in ("POST", "PATCH"):
        options["json"] = ENTRY
    return asking(DRIVER, FakeStore(NETWORK), NETWORK, [(method, path, options)], door=door)[0]


def refused(answer: httpx.Response) -> tuple[int, str]:
    assert answer.headers["content-type"] == PROBLEM
    return answer.status_code, answer.json()["detail"]


@pytest.mark.parametrize(("method", "path"), [*WRITES, ("PUT", "/nowhere"), ("FOO", "/v1/channels")])
def test_a_write_over_tcp_needs_a_token(tokens: TokenFile, method: str, path: str) -> None:
    for door in (Door(), Door(tokens=tokens)):
        answer = ask(door, method, path)
        assert refused(answer) == (401, "this needs a token: `Authorization: Bearer ...`, or the Unix socket")
        assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("authorization", ["Bearer wrong", "Bearer ", "bearer may-writ", "Bearer planner"])
def test_an_unknown_token(tokens: TokenFile, authorization: str) -> None:
    answer = ask(Door(tokens=tokens), "POST", "/v1/channels", authorization)
    assert refused(answer) == (401, "this controller does not know the token; see rtvnic token")
    assert answer.headers["www-authenticate"] == 'Bearer error="invalid_token"'


def test_another_scheme_is_no_token(tokens: TokenFile) -> None:
    assert ask(Door(tokens=tokens), "POST", "/v1/channels", "Basic may-write").status_code == 401


@pytest.mark.parametrize(("method", "path"), WRITES)
def test_a_token_that_may_only_read(tokens: TokenFile, method: str, path: str) -> None:
    answer = ask(Door(tokens=tokens), method, path, "Bearer may-read")
    assert refused(answer) == (403, "the token 'wall' may only read; use one with --role write")


def test_a_token_that_may_write(tokens: TokenFile, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    assert ask(Door(tokens=tokens), "POST", "/v1/channels", "Bearer may-write").status_code == 202
    assert "POST '/v1/channels' by 'planner': 202" in caplog.messages
    assert "may-write" not in caplog.text


def test_the_unix_sockets_way_needs_none(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    assert ask(Door(is_private=True), "DELETE", "/v1/channels/new").status_code == 404
    assert "DELETE '/v1/channels/new' by 'local': 404" in caplog.messages


def test_reading_on_this_machine_needs_none(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    assert ask(Door(), "GET", "/v1/channels").status_code == 200
    assert ask(Door(), "GET", "/v1/channels", "Bearer whatever").status_code == 200
    assert [each for each in caplog.messages if "/v1" in each and "by" in each] == []


def test_from_other_machines_reading_needs_one_too(tokens: TokenFile) -> None:
    door = Door(is_distant=True, tokens=tokens)
    assert ask(door, "GET", "/v1/channels").status_code == 401
    assert ask(door, "GET", "/openapi.json").status_code == 401
    assert ask(door, "GET", "/v1/channels", "Bearer may-read").status_code == 200


def test_who_writes_too_often_is_told_when_to_come_back(tokens: TokenFile) -> None:
    door = Door(is_private=True, limit=RateLimit(per_s=0.5, at_once=2))
    requests = [("DELETE", "/v1/channels/new", {})] * 3 + [("GET", "/v1/channels", {})]
    *answers, reading = asking(DRIVER, FakeStore(NETWORK), NETWORK, requests, door=door)
    assert [each.status_code for each in answers] == [404, 404, 429]
    assert refused(answers[2]) == (429, "'local' writes too often; wait a moment")
    assert 1 <= int(answers[2].headers["retry-after"]) <= 2
    assert reading.status_code == 200


# Over sockets, as uvicorn receives it


class Served:
    """An API at a TCP port and a Unix socket of its own."""

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        self.store = FakeStore(NETWORK)
        self.path = str(directory / "rest.sock")
        listener = stack.enter_context(socket.socket(socket.AF_UNIX))
        listener.bind(self.path)
        server = rest.RestServer(
            rest.api(DRIVER, Writer(NETWORK, self.store), EventStream(), ENDPOINT, Door(is_private=True)), listener
        )
        server.start()
        stack.callback(server.stop)
        transport = httpx.HTTPTransport(uds=self.path)
        self.client = stack.enter_context(httpx.Client(transport=transport, base_url="http://localhost"))


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with ExitStack() as stack:
        yield Served(tmp_path, stack)


def test_a_channel_is_added_changed_and_removed_at_a_unix_socket(served: Served) -> None:
    assert served.client.post("/v1/channels", json=ENTRY).status_code == 202
    assert served.client.patch("/v1/channels/new", json={"deadline": "6ms"}).status_code == 202
    assert served.client.delete("/v1/channels/new").status_code == 204


def test_a_body_of_the_most_that_is_allowed(served: Served) -> None:
    body = b" " * (BODY_MAX - 2) + b"{}"
    answer = served.client.post("/v1/channels", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 422


def test_a_body_that_says_that_it_is_too_long(served: Served) -> None:
    assert refused(served.client.post("/v1/channels", content=b" " * (BODY_MAX + 1))) == (
        413,
        "the body is too long; at most 1 MiB",
    )


def test_a_body_that_does_not_say_how_long_it_is(served: Served) -> None:
    def pieces() -> Iterator[bytes]:
        for _ in range(BODY_MAX // 65536 + 1):
            yield b" " * 65536

    assert served.client.post("/v1/channels", content=pieces()).status_code == 413


def test_a_body_that_does_not_come(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "BODY_TIMEOUT_S", 0.05)
    head = (
        b"POST /v1/channels HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 5\r\n\r\n{"
    )
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(10)
        client.connect(served.path)
        client.sendall(head)
        assert client.recv(100).startswith(b"HTTP/1.1 408 ")


@pytest.mark.parametrize("length", [b"-1", b"1e9", b"9" * 400, b"x"])
def test_a_length_that_is_none(served: Served, length: bytes) -> None:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(10)
        client.connect(served.path)
        client.sendall(b"POST /v1/channels HTTP/1.1\r\nHost: localhost\r\nContent-Length: " + length + b"\r\n\r\n")
        status = client.recv(100).split()[1]
    assert status in (b"400", b"413")
    assert served.client.get("/v1/channels").status_code == 200
