"""Two controllers' peerings over real sockets, plain and with TLS: who is heard, and what a cut costs."""

from __future__ import annotations

import os
import resource
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest
from support.http_server import unused_port
from support.networks import two_hypervisors
from support.waiting import Mailbox, wait_until

from controller.clocks.clock import Clock, Source
from controller.domain.events import (
    Event,
    MissesReported,
    PeerClockReported,
    PeerGone,
    PeeringReported,
    PeerJoined,
    PeerReported,
    StrangersReported,
)
from controller.domain.lifecycle import State
from controller.domain.reports import EndReport, Role
from controller.model import Endpoint, Network
from controller.peering.messages import Frame, FrameReader, Hello, Misses, MissReport, encode
from controller.peering.session import Phase
from controller.peering.transport import STRANGERS_MAX, Peering
from rtvnic.authority import Authority, Holder, Use

END = EndReport(role=Role.LISTENER, state=State.INSTALLED)
CLOCK = Clock(Source.CHRONY, 80_000, "UTC")
REPORT = MissReport("video", 3, 10, 700, 500, 100, 33, 0, 99)


def network_at(port: int, tls: Path | None = None) -> Network:
    """`right` listens at `port`."""
    network = two_hypervisors()
    right = replace(network.hypervisors["right"], controller=Endpoint("127.0.0.1", 1, 2, port))
    return replace(network, hypervisors={**network.hypervisors, "right": right}, tls_directory=tls)


class Controller:
    """The peering of one controller, with its mailbox."""

    def __init__(self, network: Network, name: str, port: int = 0) -> None:
        self.mailbox = Mailbox()
        listener = socket.create_server(("127.0.0.1", port)) if port else None
        self.peering = Peering(network, name, listener, self.mailbox.post)
        self.peering.start()
        self.peering.follow(["right" if name == "left" else "left"])

    def heard(self) -> list[Event]:
        """All that it has heard and nobody has looked at."""
        found = []
        while not self.mailbox.is_empty:
            found.append(self.mailbox.next())
        return found

    def heard_until(self, kind: type[Event]) -> list[Event]:
        """All that it hears up to the next of `kind`."""
        found = [self.mailbox.next()]
        while not isinstance(found[-1], kind):
            found.append(self.mailbox.next())
        return found


Start = Callable[..., Controller]


@pytest.fixture
def start() -> Iterator[Start]:
    with ExitStack() as stack:

        def started(network: Network, name: str, port: int = 0) -> Controller:
            made = Controller(network, name, port)
            stack.callback(made.peering.stop)
            return made

        yield started


def certificates(directory: Path, *names: str) -> Path:
    authority = Authority(directory)
    for name in names:
        authority.issue(Holder(f"controller-{name}", Use.BOTH), days=1, renews=False)
    return directory


@pytest.fixture(params=["plain", "tls"])
def network(request: pytest.FixtureRequest, tmp_path: Path) -> Network:
    return network_at(unused_port(), certificates(tmp_path, "left", "right") if request.param == "tls" else None)


def port_of(network: Network) -> int:
    return network.hypervisors["right"].controller.peering_port


def test_what_one_tells_the_other_hears(network: Network, start: Start) -> None:
    left, right = start(network, "left"), start(network, "right", port_of(network))
    assert left.mailbox.next_of(PeerJoined) == PeerJoined("right", is_same_host=True)
    assert right.mailbox.next_of(PeerJoined) == PeerJoined("left", is_same_host=True)
    right.peering.tell_ends("left", {"video": END}, is_all=True)
    right.peering.report("left", (REPORT,))
    right.peering.tell_clock("left", CLOCK)
    assert left.mailbox.next_of(PeerReported) == PeerReported("right", {"video": END})
    assert left.mailbox.next_of(MissesReported) == MissesReported("right", (REPORT,))
    assert left.mailbox.next_of(PeerClockReported) == PeerClockReported("right", CLOCK)
    wait_until(lambda: left.mailbox.next_of(PeeringReported).link.round_trip_ns)


def test_who_connects_says_why_nobody_answers(network: Network, start: Start) -> None:
    left = start(network, "left")
    assert left.mailbox.next_of(PeerGone) == PeerGone("right", "is not running")


def test_a_peer_that_ends_and_comes_back_hears_what_it_missed(network: Network, start: Start) -> None:
    port = port_of(network)
    left = start(network, "left")
    right = Controller(network, "right", port)
    left.mailbox.next_of(PeerJoined)
    right.peering.stop()
    assert left.mailbox.next_of(PeerGone).why == "has ended the conversation"
    left.peering.tell_ends("right", {"old": END}, is_all=True)
    for total in range(1, 2001):
        left.peering.report("right", (replace(REPORT, total_misses=total),))
    again = start(network, "right", port)
    last = again.mailbox.next_of(MissesReported)
    while last.reports[0].total_misses < 2000:
        last = again.mailbox.next_of(MissesReported)
    links = [left.mailbox.next_of(PeeringReported).link]
    while not links[-1].reconnects:
        links.append(left.mailbox.next_of(PeeringReported).link)
    assert links[-1].dropped == 2000 - 1024, "the oldest ones"


def test_what_a_peer_has_said_before_it_hung_up_is_heard(start: Start) -> None:
    port = unused_port()
    right = start(network_at(port), "right", port)
    right.mailbox.next_of(PeeringReported)
    both_are_there = threading.Event()
    with socket.create_connection(("127.0.0.1", port)) as left:
        left.sendall(encode(Frame(7, 0, Hello("left", 7))))
        hello = first_frame(left)
        right.peering._order(lambda: held_until(both_are_there))
        left.sendall(encode(Frame(hello.session_id, 1, Misses((REPORT,)))))
    both_are_there.set()
    told = right.heard_until(PeerGone)
    assert MissesReported("left", (REPORT,)) in told
    assert told[-1] == PeerGone("left", "has ended the conversation")


def held_until(event: threading.Event) -> None:
    event.wait(20)


def first_frame(connection: socket.socket) -> Frame:
    connection.settimeout(20)
    reader = FrameReader()
    while data := connection.recv(1 << 16):
        for frame in reader.feed(data):
            return frame
    raise ConnectionResetError


def test_the_oldest_stranger_gives_way_to_a_peer(start: Start) -> None:
    port = unused_port()
    right = start(network_at(port), "right", port)
    with ExitStack() as stack:
        strangers = [stack.enter_context(socket.create_connection(("127.0.0.1", port))) for _ in range(STRANGERS_MAX)]
        left = start(network_at(port), "left")
        assert not any(isinstance(event, PeerGone) for event in left.heard_until(PeerJoined)), "let in at once"
        right.mailbox.next_of(PeerJoined)
        first_frame(strangers[0])
        assert strangers[0].recv(1 << 16) == b"", "hung up on"


@contextmanager
def no_descriptor_left() -> Iterator[None]:
    """For this process, all of its threads."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(map(int, os.listdir("/proc/self/fd"))) + 8, hard))
    held: list[int] = []
    try:
        with suppress(OSError):
            while True:
                held.append(os.dup(0))
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for each in held:
            os.close(each)


def test_peers_are_spoken_with_while_there_is_no_room_for_another(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    port, other = unused_port(), unused_port()
    network = network_at(port)
    zone = replace(network.hypervisors["right"], name="zone", controller=Endpoint("127.0.0.1", 1, 2, other))
    network = replace(network, hypervisors={**network.hypervisors, "zone": zone})
    left, right = start(network, "left"), start(network, "right", port)
    right.mailbox.next_of(PeerJoined)
    left.mailbox.next_of(PeerJoined)
    with socket.socket() as late:
        with no_descriptor_left():
            left.peering.follow(["right", "zone"])
            assert left.mailbox.next_of(PeerGone) == PeerGone("zone", "is not reachable: Too many open files")
            late.connect(("127.0.0.1", port))
            wait_until(lambda: "could not be taken" in caplog.text)
            left.peering.tell_ends("right", {"video": END}, is_all=True)
            assert right.mailbox.next_of(PeerReported) == PeerReported("left", {"video": END})
            right.peering.report("left", (REPORT,))
            assert left.mailbox.next_of(MissesReported) == MissesReported("right", (REPORT,))
        first_frame(late)
    wait_until(lambda: left.mailbox.next_of(PeerGone).why == "is not running")


def test_a_certificate_of_another_authority(tmp_path: Path, start: Start) -> None:
    port = unused_port()
    ours, theirs = (certificates(tmp_path / name, "left", "right") for name in ("ours", "theirs"))
    left = start(network_at(port, ours), "left")
    right = start(network_at(port, theirs), "right", port)
    wait_until(lambda: left.mailbox.next_of(PeerGone).why.startswith("shows a certificate that is not trusted"))
    wait_until(lambda: left.mailbox.next_of(PeeringReported).link.refused)
    assert not any(isinstance(event, PeerJoined) for event in right.heard())


@pytest.mark.parametrize("impostor", ["left", "right"])
def test_a_certificate_of_another_domain(tmp_path: Path, start: Start, impostor: str) -> None:
    """Signed by our authority, but for someone else."""
    port = unused_port()
    good = certificates(tmp_path / "good", "left", "right", "middle")
    bad = tmp_path / "bad"
    bad.mkdir()
    for part in ("cert", "key"):
        (bad / f"controller-{impostor}-{part}.pem").write_bytes((good / f"controller-middle-{part}.pem").read_bytes())
    (bad / "ca-cert.pem").write_bytes((good / "ca-cert.pem").read_bytes())
    files = {name: bad if name == impostor else good for name in ("left", "right")}
    right = start(network_at(port, files["right"]), "right", port)
    left = start(network_at(port, files["left"]), "left")
    if impostor == "right":
        wait_until(lambda: left.mailbox.next_of(PeerGone).why == "has the certificate of another")
    else:
        left.mailbox.next_of(PeerGone)
        assert not any(isinstance(event, PeerJoined) for event in right.heard())


@pytest.mark.parametrize("name", ["right", "middle", ""])
def test_a_stranger_is_not_talked_to(start: Start, name: str) -> None:
    port = unused_port()
    right = start(network_at(port), "right", port)
    with socket.create_connection(("127.0.0.1", port)) as stranger:
        stranger.settimeout(20)
        stranger.sendall(encode(Frame(7, 0, Hello(name, 7))))
        while stranger.recv(1 << 16):
            pass
    told = right.heard_until(StrangersReported)
    assert told[-1] == StrangersReported(1)
    assert not any(isinstance(event, PeerJoined) for event in told)


def test_without_tls_on_the_wire_there_is_no_session(tmp_path: Path, start: Start) -> None:
    port = unused_port()
    start(network_at(port, certificates(tmp_path, "left", "right")), "right", port)
    left = start(network_at(port), "left")
    left.mailbox.next_of(PeerGone)
    assert left.mailbox.next_of(PeeringReported).link.phase is not Phase.OPEN
