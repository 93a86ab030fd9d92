"""The verb `channel`, against an API with a store in memory, at a Unix socket and at a TCP port."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from support.domains import Driver
from support.examples import example
from support.fake_store import FakeStore
from support.http_server import FakeRest, unused_port

from controller import runtime
from controller.model import Endpoint, Network
from controller.rest import server as rest
from controller.rest.access import Token, TokenRole
from controller.rest.event_stream import EventStream
from controller.rest.gate import Door
from controller.rest.token_file import TokenFile, write_tokens
from controller.rest.writes import Writer
from controller.store.link import told
from rtvnic import channel
from rtvnic.__main__ import main

NEW = ["new", "--from", "camera", "--to", "screen", "--deadline", "5ms", "--min-rate", "1Mbps", "--protocol", "udp"]


class Served:
    """The controller of `left`, the talker's, at `RUN_DIR/left.rest.sock` and at `url`; its switches are not there."""

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        port = unused_port()
        self.url = f"http://127.0.0.1:{port}"
        network = self._network(port)
        self.store, self.driver = FakeStore(network), Driver(network, "left")
        write_tokens(directory / "tokens", [Token.of(TokenRole.WRITE, "planner", "secret")])
        inner = stack.enter_context(socket.socket(socket.AF_UNIX))
        inner.bind(str(directory / "left.rest.sock"))
        outer = stack.enter_context(socket.create_server(("127.0.0.1", port)))
        doors = {inner: Door(is_private=True), outer: Door(tokens=TokenFile(directory / "tokens"))}
        for listener, door in doors.items():
            api = rest.api(
                self.driver, Writer(network, self.store), EventStream(), Endpoint("127.0.0.1", 1, port), door
            )
            server = rest.RestServer(api, listener)
            server.start()
            stack.callback(server.stop)

    def _network(self, port: int) -> Network:
        network = example("two_hypervisors")
        left = replace(network.hypervisors["left"], controller=Endpoint("127.0.0.1", 1, port))
        return replace(network, hypervisors={**network.hypervisors, "left": left})

    def hear(self) -> None:
        """The controller hears what the store has."""
        self.driver.hear(told(self.store.now))


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    monkeypatch.setattr(runtime, "RUN_DIR", tmp_path)
    monkeypatch.setattr(channel, "WAIT_S", 0.0)
    monkeypatch.setattr(channel, "POLL_S", 0.01)
    with ExitStack() as stack:
        yield Served(tmp_path, stack)


def test_a_channel_is_added_changed_and_removed(served: Served, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["channel", "add", *NEW, "--dst-port", "7000", "--no-wait"]) == 0
    assert capsys.readouterr().out == "channel 'new' is added, version 2\n"
    assert served.store.now.records["new"].channel.dst_port == 7000
    assert main(["channel", "change", "new", "--deadline", "6ms", "--default", "dst_port", "--no-wait", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["version"] == 3
    found = served.store.now.records["new"].channel
    assert (found.deadline_ns, found.dst_port, found.rate_bps) == (6_000_000, None, 1_000_000)
    assert main(["channel", "remove", "new", "--if-version", "3"]) == 0
    assert capsys.readouterr().out == "channel 'new' is removed\n"
    assert "new" not in served.store.now.records


def test_it_waits_until_the_channel_is_installed(
    served: Served, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(channel, "WAIT_S", 10.0)
    states = iter(["waiting", "installing", "installed"])
    monkeypatch.setattr(channel, "_standing", lambda *_: (next(states), "of this and that"))
    assert main(["channel", "add", *NEW]) == 0
    told = capsys.readouterr()
    assert told.out == "channel 'new' is added, version 2, installed\n"
    assert told.err == "1/1 waiting until new is installed\n"


def test_one_that_does_not_get_installed_is_exit_1_with_the_reason(
    served: Served, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["channel", "add", *NEW]) == 1
    assert "channel 'new' is accepted, but waiting: this domain has no channel 'new'" in capsys.readouterr().err
    served.hear()
    assert main(["channel", "add", *NEW]) == 1
    assert (
        "channel 'new' is accepted, but waiting: the controller of right has not answered yet"
        in capsys.readouterr().err
    )
    main(["channel", "change", "new", "--deadline", "6ms"])
    assert "its talker's controller has not heard of the change yet" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["add", *NEW[:-4], "--min-rate", "2", "--dst-port", "x"],
         "min_rate: '2' has no unit; write 2Mbps or 500kbps\ndst_port: 'x' is not a whole number from 1 to 65535\n"),
        (["change", "none", "--deadline", "5ms"], "there is no channel 'none'\n"),
        (["change", "video", "--deadline", "5ms", "--if-version", "7"],
         "channel 'video' has version 1; read it again, and ask again\n"),
        (["remove", "video"], "channel 'video' belongs to file; change the topology file and apply it\n"),
    ],
)  # fmt: skip
def test_what_is_refused_is_exit_1_with_the_reasons(
    served: Served, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    assert main(["channel", *words]) == 1
    assert capsys.readouterr().err == message


def test_the_reasons_of_admission_are_all_printed(served: Served, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["channel", "add", *NEW[:7], "--min-rate", "99Mbps", "--protocol", "udp"]) == 1
    assert "the uplink of left" in capsys.readouterr().err


def test_over_tcp_a_token_is_shown(served: Served, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["channel", "add", *NEW, "--no-wait", "--at", served.url]
    assert main(words) == 1
    assert "this needs a token" in capsys.readouterr().err
    (tmp_path / "mine").write_text("secret\n")
    assert main([*words, "--token-file", str(tmp_path / "mine")]) == 0


def test_a_store_that_does_not_answer_is_exit_2(served: Served, capsys: pytest.CaptureFixture[str]) -> None:
    served.store.is_away = True
    assert main(["channel", "add", *NEW]) == 2
    assert capsys.readouterr().err == (
        f"the controller at unix:{runtime.RUN_DIR}/left.rest.sock cannot do it: the store does not answer; start it; "
        "ask again\n"
    )


def test_a_busy_controller_is_exit_2_and_nothing_is_changed(
    served: Served, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def ask(_: object) -> None:
        raise TimeoutError

    monkeypatch.setattr(served.driver, "ask", ask)
    before = served.store.now
    assert main(["channel", "add", *NEW]) == 2
    assert "cannot do it: the domain is busy; try again in a moment" in capsys.readouterr().err
    assert served.store.now == before


@pytest.mark.parametrize("at", [[], ["--at", "unix:/nowhere"], ["--at", "http://127.0.0.1:1"]])
def test_without_a_controller_it_is_exit_2(
    at: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(runtime, "RUN_DIR", tmp_path)
    assert main(["channel", "remove", "new", *at]) == 2
    told = capsys.readouterr().err
    assert told.startswith("no controller")
    assert told.endswith("start the network (rtvnic up FILE), or give --at its address\n")
    assert told.count("\n") == 1


def test_a_socket_that_nobody_serves_is_passed_over(served: Served, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(tmp_path / "a.rest.sock"))
    assert main(["channel", "add", *NEW, "--no-wait"]) == 0


def test_a_miss_may_start_several_handlers(served: Served, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--on-miss", "log", "--on-miss", "adapt"]
    assert main(["channel", "add", *NEW, "--dst-port", "7000", "--no-wait", *words]) == 0
    assert served.store.now.records["new"].channel.on_miss == ("adapt", "log")
    assert main(["channel", "change", "new", "--on-miss", "adapt", "--no-wait"]) == 0
    assert served.store.now.records["new"].channel.on_miss == ("adapt",)


@pytest.mark.parametrize(("status", "body"), [(200, b"<html>"), (200, b"[]"), (201, b"{}"), (204, b""), (200, b"\xff")])
@pytest.mark.parametrize("words", [["add", *NEW], ["change", "new", "--deadline", "5ms"], ["remove", "new"]])
def test_another_server_is_told_from_a_controller(
    status: int, body: bytes, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    if words[0] == "remove" and not body:
        return  # as a controller answers
    paths = ("/v1/channels", "/v1/channels/new")
    with FakeRest(dict.fromkeys(paths, (status, body))) as server:
        assert main(["channel", *words, "--at", server.url, *([] if words[0] == "remove" else ["--no-wait"])]) == 2
        told = capsys.readouterr().err
        assert told.startswith(f"what answers at {server.url} is no controller, or a busy one ({status}); ")


@pytest.fixture
def distant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeRest]:
    """The controller of `left` at its Unix socket; over TCP it takes a token and a certificate, as `right` does."""
    monkeypatch.setattr(runtime, "RUN_DIR", tmp_path)
    urls = {"left": "https://10.0.0.1:8181", "right": "https://10.0.0.2:8181"}
    with FakeRest(path=tmp_path / "left.rest.sock") as left:
        hypervisors = [{"name": name, "rest_url": url} for name, url in urls.items()]
        left.say("/v1/topology", {"domain": "left", "hypervisors": hypervisors})
        left.say("/v1/channels", {"name": "new", "version": 2, "url": f"{urls['left']}/v1/channels/new"}, 202)
        left.say("/v1/channels/new", {"version": 2, "state": "installed", "why": ""})
        yield left


def test_a_controller_is_asked_how_its_channel_stands_as_it_was_asked_to_make_it(
    distant: FakeRest, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["channel", "add", *NEW]) == 0
    assert capsys.readouterr().out == "channel 'new' is added, version 2, installed\n"


@pytest.mark.parametrize(
    ("options", "missing"),
    [
        ([], "--tls DIR and --token-file FILE"),
        (["--tls", "."], "--token-file FILE"),
        (["--token-file", "f"], "--tls DIR"),
    ],
)
def test_what_another_machines_controller_would_need_is_said_at_once(
    distant: FakeRest, options: list[str], missing: str, capsys: pytest.CaptureFixture[str]
) -> None:
    distant.say("/v1/channels", {"name": "new", "version": 2, "url": "https://10.0.0.2:8181/v1/channels/new"}, 202)
    assert main(["channel", "add", *NEW, *options]) == 2
    assert capsys.readouterr().err == (
        "channel 'new' is accepted; its talker's controller at https://10.0.0.2:8181 says whether it is installed; "
        f"give {missing} to ask it, or --no-wait\n"
    )
    assert main(["channel", "add", *NEW, *options, "--no-wait"]) == 0
