"""`rtvnic show misses --follow`: a real stream, broken off and resumed."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace

import pytest
from support.domains import Driver
from support.examples import distinct
from support.fake_store import FakeStore
from support.http_server import FakeRest, unused_port
from support.networks import two_hypervisors
from support.waiting import wait_until

from controller.domain.lifecycle import State
from controller.domain.notices import MissNotice, StateNotice
from controller.domain.reports import Role
from controller.model import Endpoint, SwitchKind
from controller.rest import server as rest
from controller.rest.event_stream import EventStream
from controller.rest.gate import Door
from controller.rest.server import RestServer
from controller.rest.writes import Writer
from rtvnic.__main__ import main
from rtvnic.follow import Event, parsed

STATE = StateNotice(domain="left", at_ns=1, channel="video", role=Role.TALKER, state=State.INSTALLED, why="")


def miss(count: int) -> MissNotice:
    return MissNotice(
        domain="left", at_ns=10**18, channel="video", count=count, worst_lateness_ns=1_500_000, clock_error_ns=0
    )


@contextmanager
def serving(stream: EventStream, port: int) -> Iterator[None]:
    """The controller of `left` at `port`; that of `right` is nowhere."""
    network = distinct(two_hypervisors(kind=SwitchKind.PLAIN))
    ports = {"left": port, "right": unused_port()}
    places = {
        name: replace(each, controller=Endpoint("127.0.0.1", 1, ports[name]))
        for name, each in network.hypervisors.items()
    }
    network = replace(network, hypervisors=places)
    api = rest.api(
        Driver(network, "left"), Writer(network, FakeStore(network)), stream, places["left"].controller, Door()
    )
    with socket.create_server(("127.0.0.1", port)) as listener:
        server = RestServer(api, listener)
        server.start()
        try:
            yield
        finally:
            stream.close()
            server.stop()


@contextmanager
def following(port: int, *options: str) -> Iterator[subprocess.Popen[str]]:
    words = [sys.executable, "-m", "rtvnic", "show", "misses", "--follow", "--at", f"http://127.0.0.1:{port}", *options]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as program:
        try:
            yield program
        finally:
            program.kill()


def next_line(program: subprocess.Popen[str]) -> str:
    assert program.stdout is not None
    return program.stdout.readline()


def test_misses_are_an_object_a_line_and_none_is_lost_when_the_connection_is() -> None:
    stream, port = EventStream(), unused_port()
    with ExitStack() as stack:
        with serving(stream, port):
            program = stack.enter_context(following(port, "--json"))
            wait_until(lambda: stream.readers)
            stream.publish([STATE, miss(1)])
            assert json.loads(next_line(program)) == miss(1).model_dump(mode="json")
        stream.publish([miss(2)])
        with serving(stream, port):
            assert json.loads(next_line(program))["count"] == 2
            stream.publish([miss(3)])
            assert json.loads(next_line(program))["count"] == 3


def test_what_comes_between_two_streams_is_not_lost_though_none_came_in_the_first() -> None:
    stream, port = EventStream(), unused_port()
    with ExitStack() as stack:
        with serving(stream, port):
            program = stack.enter_context(following(port, "--json"))
            wait_until(lambda: stream.readers)
        stream.publish([miss(2)])
        with serving(stream, port):
            assert json.loads(next_line(program))["count"] == 2


def test_a_line_for_people_and_an_end_at_an_interrupt() -> None:
    stream, port = EventStream(), unused_port()
    with serving(stream, port), following(port) as program:
        wait_until(lambda: stream.readers)
        stream.publish([miss(7)])
        assert next_line(program) == "2001-09-09 01:46:40.000000+00:00  video  7 missed  1.500 ms late at most\n"
        assert program.stderr is not None
        complaint = program.stderr.readline()
        assert complaint.startswith("no events from http://127.0.0.1:"), "the controller of right is nowhere"
        program.send_signal(signal.SIGINT)
        assert program.communicate(timeout=20) == ("", "")
    assert program.returncode == 0


def test_a_controller_that_refuses_is_told_of_in_its_own_words() -> None:
    with FakeRest() as left:
        left.say("/v1/topology", {"domain": "left", "hypervisors": [{"name": "left", "rest_url": left.url, "vms": []}]})
        left.say("/v1/events", {"detail": "there are 16 readers already"}, 503)
        with following(int(left.url.rpartition(":")[2])) as program:
            assert program.stderr is not None
            assert "cannot do it: there are 16 readers already; " in program.stderr.readline()


@pytest.mark.parametrize("what", ["channels", "switches"])
def test_only_misses_are_followed(what: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", what, "--follow"]) == 2
    assert capsys.readouterr().err == f"{what} cannot be followed; rtvnic show misses --follow\n"


def test_lines_of_a_stream() -> None:
    head = ["retry: 1000", "id: a-0", ""]
    lines = [*head, ": nothing new", "", "id: a-1", "event: misses", 'data: {"count":1}', "", "event: gap"]
    assert list(parsed(lines)) == [Event("a-0", "", {}), Event("a-1", "misses", {"count": 1})]


def test_data_that_are_not_json() -> None:
    with pytest.raises(ValueError):
        list(parsed(["data: {", ""]))
