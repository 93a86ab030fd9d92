"""`realtime_channel` against a service on the loopback."""

from __future__ import annotations

import errno
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from support.guest_service import BOUND_NS, FIRST_ID, MISSED, GuestService, Held
from support.waiting import PATIENCE_S, Mailbox, wait_until

from guest import channel as channel_module
from guest import errors, session, signals
from guest.channel import realtime_channel
from guest.client import Service
from guest.messages import Answer, Change, Close, IPv4Address, Kind, Missed, Open, Renew, State, Status, Subscribe
from guest.route import Way

ROOT = Path(__file__).parents[3]
LATE = replace(MISSED, channel_id=FIRST_ID)
CONTRACT = Open(IPv4Address("10.0.0.2"), IPv4Address("10.0.0.1"), 0, 0, 0, 0, 0, 5_000_000, 2_000_000, 30)


@pytest.fixture
def service() -> Iterator[GuestService]:
    with GuestService() as running:
        yield running


@pytest.fixture
def sock() -> Iterator[socket.socket]:
    """A UDP socket that is connected to somebody."""
    with closing(bound()) as peer, closing(bound()) as own:
        own.connect(peer.getsockname())
        yield own


def refusal(status: Status, deadline_ns: int = 0, rate_bps: int = 0) -> Answer:
    return Answer(status, State.WAITING, 0, 0, 0, deadline_ns, rate_bps, "for a reason")


def test_opens_for_what_the_socket_sends_and_closes_at_the_end(service: GuestService, sock: socket.socket) -> None:
    with realtime_channel(sock, deadline="5ms", rate="2Mbps", burst="8kB", service=service.way) as channel:
        assert service.asked[0] == Open(
            IPv4Address("127.0.0.1"), IPv4Address("127.0.0.1"), sock.getsockname()[1], sock.getpeername()[1],
            socket.IPPROTO_UDP, 8000, 0, 5_000_000, 2_000_000, 30,
        )  # fmt: skip
        assert (channel.id, channel.state, channel.bound_ns) == (FIRST_ID, State.INSTALLED, BOUND_NS)
        assert (channel.deadline_ns, channel.rate_bps, channel.misses) == (5_000_000, 2_000_000, 0)
    assert service.asked[-1] == Close(FIRST_ID)
    assert service.channels == {}


def test_closes_after_an_exception_and_lets_it_pass(service: GuestService, sock: socket.socket) -> None:
    with pytest.raises(ZeroDivisionError), realtime_channel(sock, "5ms", "2Mbps", service=service.way):
        raise ZeroDivisionError
    assert service.channels == {}


def test_closing_twice_asks_once(service: GuestService, sock: socket.socket) -> None:
    channel = realtime_channel(sock, "5ms", "2Mbps", service=service.way)
    channel.close()
    channel.close()
    assert service.count(Close) == 1


def test_connects_a_socket_to_its_destination(service: GuestService) -> None:
    with closing(socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)) as sock:
        with realtime_channel(sock, "5ms", "2Mbps", destination=("::ffff:127.0.0.1", 5000), service=service.way):
            assert sock.getpeername()[1] == 5000
        assert isinstance(asked := service.asked[0], Open)
        assert (asked.destination, asked.dst_port) == (IPv4Address("127.0.0.1"), 5000)


def test_takes_a_tcp_connection(service: GuestService) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as sock:
        realtime_channel(sock, "5ms", "2Mbps", service=service.way).close()
        assert isinstance(asked := service.asked[0], Open)
        assert asked.protocol == socket.IPPROTO_TCP


def test_what_is_lost_is_asked_again(service: GuestService, sock: socket.socket) -> None:
    service.drops.update({Kind.OPEN: 2, Kind.CLOSE: 1})
    with realtime_channel(sock, "5ms", "2Mbps", service=service.way):
        pass
    assert (service.count(Open), service.count(Close), service.channels) == (1, 1, {})


def test_waits_until_it_is_installed(service: GuestService, sock: socket.socket) -> None:
    service.answers_until_installed = 3
    with realtime_channel(sock, "5ms", "2Mbps", service=service.way) as channel:
        assert channel.state == State.INSTALLED
        assert service.count(Renew) == 3


def test_what_does_not_get_installed_is_closed(
    service: GuestService, sock: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channel_module, "INSTALL_WAIT_S", 0)
    service.answers_until_installed = 1000
    with pytest.raises(errors.NotInstalled, match="accepted, but still installing"):
        realtime_channel(sock, "5ms", "2Mbps", service=service.way)
    assert service.channels == {}


def test_changes_what_is_mentioned(service: GuestService, sock: socket.socket) -> None:
    with realtime_channel(sock, "5ms", "2Mbps", service=service.way) as channel:
        channel.change(deadline="4ms")
        assert Change(FIRST_ID, 0, 0, 4_000_000, 0) in service.asked
        assert (channel.deadline_ns, channel.rate_bps) == (4_000_000, 2_000_000)


def test_a_change_that_is_refused_changes_nothing(service: GuestService, sock: socket.socket) -> None:
    service.refusals[Kind.CHANGE] = refusal(Status.REFUSED, deadline_ns=4_500_000)
    with realtime_channel(sock, "5ms", "2Mbps", service=service.way) as channel:
        with pytest.raises(errors.Refused) as refused:
            channel.change(deadline="1ms")
        assert (refused.value.smallest_deadline_ns, refused.value.largest_rate_bps) == (4_500_000, None)
        assert str(refused.value) == "for a reason; a deadline of 4.5ms would do"
        assert channel.deadline_ns == 5_000_000


def test_what_is_closed_cannot_be_changed(service: GuestService, sock: socket.socket) -> None:
    with realtime_channel(sock, "5ms", "2Mbps", service=service.way) as channel:
        pass
    with pytest.raises(errors.Invalid, match="the channel is closed"):
        channel.change(deadline="4ms")


def test_who_closes_waits_for_a_change_that_is_under_way(service: GuestService, sock: socket.socket) -> None:
    service.drops[Kind.CHANGE] = 2
    channel = realtime_channel(sock, "5ms", "2Mbps", service=service.way)
    with ThreadPoolExecutor(1) as pool:
        changing = pool.submit(channel.change, deadline="4ms")
        wait_until(lambda: service.drops[Kind.CHANGE] < 2)
        channel.close()
        changing.result()
    assert [type(each) for each in service.asked if isinstance(each, Change | Close)] == [Change, Close]
    assert service.channels == {}


def test_who_waits_for_a_change_keeps_to_its_own_lease(service: GuestService, sock: socket.socket) -> None:
    service.refusals[Kind.CHANGE] = Answer(Status.DONE, State.INSTALLING, FIRST_ID, 1, 0, 4_000_000, 2_000_000)
    with realtime_channel(sock, "5ms", "2Mbps", service=service.way) as channel:
        channel.change(deadline="4ms")
        assert Renew(FIRST_ID, 30) in service.asked
        assert Renew(FIRST_ID, 1) not in service.asked


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (Status.INVALID, errors.Invalid),
        (Status.REFUSED, errors.Refused),
        (Status.OVER_QUOTA, errors.OverQuota),
        (Status.UNKNOWN, errors.UnknownChannel),
        (Status.CONFLICT, errors.Conflict),
        (99, errors.AnswerIsNo),
    ],
)
def test_a_refusal_is_an_exception_with_its_reason(
    service: GuestService, sock: socket.socket, status: Status, error: type[errors.GuestError]
) -> None:
    service.refusals[Kind.OPEN] = refusal(status)
    with pytest.raises(error, match=r"^for a reason$"):
        realtime_channel(sock, "5ms", "2Mbps", service=service.way)


def test_a_refusal_says_what_would_do(service: GuestService, sock: socket.socket) -> None:
    service.refusals[Kind.OPEN] = refusal(Status.REFUSED, 4_510_000, 1_200_000)
    with pytest.raises(errors.Refused, match=r"^for a reason; a deadline of 4\.51ms or a rate of 1\.2Mbps would do$"):
        realtime_channel(sock, "1ms", "2Mbps", service=service.way)


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is waited for."""
    monkeypatch.setattr(session, "PAUSES_NS", (1_000_000, 1_000_000))


@pytest.mark.usefixtures("hurried")
def test_says_what_may_be_wrong_where_nobody_answers(service: GuestService, sock: socket.socket) -> None:
    service.drops[Kind.OPEN] = 1000
    with pytest.raises(errors.NoService, match="is this VM's hypervisor running rtvnic, and does the topology file"):
        realtime_channel(sock, "5ms", "2Mbps", service=service.way)


def test_says_that_the_controller_is_busy(
    service: GuestService, sock: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "PAUSES_NS", (100_000_000,) * 3)
    service.refusals[Kind.OPEN] = refusal(Status.BUSY)
    with pytest.raises(errors.Busy):
        realtime_channel(sock, "5ms", "2Mbps", service=service.way)


def test_only_what_comes_from_the_service_is_received() -> None:
    with closing(bound()) as served, closing(bound()) as stranger, Service(Way(*served.getsockname())) as asking:
        asking.send(b"ask")
        _, guest = served.recvfrom(10)
        for sender in (stranger, served):
            sender.sendto(b"answer", guest)
            wait_until(lambda: select.select([asking], [], [], 0)[0])
            assert asking.receive() == (b"answer" if sender is served else None)
        assert asking.receive() is None


def bound() -> socket.socket:
    """A UDP socket with an address."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    return sock


def test_call_ups_reach_the_callback(service: GuestService, sock: socket.socket) -> None:
    told = Mailbox()
    with realtime_channel(sock, "5ms", "2Mbps", on_miss=told.post, service=service.way) as channel:
        wait_until(lambda: service.is_subscribed(FIRST_ID))
        service.tell(LATE, nonce=12345)
        service.tell(LATE)
        assert told.next() == LATE
        assert told.is_empty
        assert channel.misses == LATE.total_misses
    wait_until(lambda: not service.is_subscribed(FIRST_ID))


@pytest.mark.parametrize("error", [ZeroDivisionError, SystemExit])
def test_a_callback_that_raises_ends_nothing(
    service: GuestService, sock: socket.socket, caplog: pytest.LogCaptureFixture, error: type[BaseException]
) -> None:
    told = Mailbox()

    def careless(missed: Missed) -> None:
        told.post(missed)
        raise error

    with realtime_channel(sock, "5ms", "2Mbps", on_miss=careless, service=service.way):
        wait_until(lambda: service.is_subscribed(FIRST_ID))
        for _ in range(2):
            service.tell(LATE)
            assert told.next() == LATE
    assert "a callback for misses of channel 17 has failed" in caplog.text


def test_a_callback_may_close_its_channel(service: GuestService, sock: socket.socket) -> None:
    is_closed = threading.Event()

    def enough(missed: Missed) -> None:
        channel.close()
        is_closed.set()

    channel = realtime_channel(sock, "5ms", "2Mbps", on_miss=enough, service=service.way)
    wait_until(lambda: service.is_subscribed(FIRST_ID))
    service.tell(LATE)
    assert is_closed.wait(20)
    assert service.channels == {}


def test_the_lease_is_renewed_and_a_lost_channel_comes_back(service: GuestService, sock: socket.socket) -> None:
    with realtime_channel(sock, "5ms", "2Mbps", lease="1s", service=service.way) as channel:
        wait_until(lambda: service.count(Renew) > 0)
        service.channels.clear()
        wait_until(lambda: service.count(Open) == 2)
        wait_until(lambda: service.channels and not channel.standing.is_lost)
        assert channel.state == State.INSTALLED
        assert service.count(Subscribe) > 1


WAITS_FOR_A_SIGNAL = """
import ctypes, signal, socket, sys
from guest.channel import realtime_channel
from guest.route import Way


class SignalInfo(ctypes.Structure):  # siginfo_t of a queued signal, on 64 bits
    _fields_ = (
        ("number", ctypes.c_int), ("error", ctypes.c_int), ("code", ctypes.c_int), ("pid", ctypes.c_int),
        ("uid", ctypes.c_int), ("value", ctypes.c_uint64), ("rest", ctypes.c_byte * 128),
    )


number, info = signal.SIGRTMIN + 3, SignalInfo()
wanted = (ctypes.c_uint64 * 16)(1 << (number - 1))
signal.pthread_sigmask(signal.SIG_BLOCK, {number})
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.connect(("127.0.0.1", 9))
with realtime_channel(sock, "5ms", "2Mbps", signal=number, service=Way(sys.argv[1], int(sys.argv[2]))):
    assert ctypes.CDLL(None).sigwaitinfo(ctypes.byref(wanted), ctypes.byref(info)) == number
print(info.value >> 44, info.value & (2**44 - 1))
"""


def test_call_ups_come_as_real_time_signals(service: GuestService) -> None:
    """In a process of its own: any thread of this one that does not block the signal would be ended by it."""
    command = [sys.executable, "-c", WAITS_FOR_A_SIGNAL, service.way.host, str(service.way.port)]
    with subprocess.Popen(command, cwd=ROOT, text=True, stdout=subprocess.PIPE) as waiting:
        try:
            wait_until(lambda: service.is_subscribed(FIRST_ID))
            service.tell(LATE)
            said, _ = waiting.communicate(timeout=PATIENCE_S)
        finally:
            waiting.kill()
    assert (said, waiting.returncode) == (f"{FIRST_ID} {LATE.worst_ns}\n", 0)


def test_a_signal_that_does_not_queue_is_refused(service: GuestService, sock: socket.socket) -> None:
    with pytest.raises(errors.Invalid, match="signal 10 does not queue"):
        realtime_channel(sock, "5ms", "2Mbps", signal=signal.SIGUSR1, service=service.way)
    assert service.asked == []


def test_a_lateness_beyond_the_signals_room_is_the_most_it_has() -> None:
    assert signals.value_of(replace(LATE, worst_ns=2**50)) == FIRST_ID << 44 | 2**44 - 1


@pytest.mark.parametrize(
    ("kind", "destination", "message"),
    [
        (socket.SOCK_DGRAM, None, "the socket is not connected; connect it, or say destination="),
        (socket.SOCK_STREAM, ("127.0.0.1", 1), "cannot connect to"),
        (socket.SOCK_RAW, None, "a channel is for a UDP or a TCP socket"),
    ],
)
def test_says_what_is_wrong_with_a_socket(
    service: GuestService, kind: socket.SocketKind, destination: tuple[str, int] | None, message: str
) -> None:
    protocol = socket.IPPROTO_ICMP if kind == socket.SOCK_RAW else 0
    with closing(socket.socket(socket.AF_INET, kind, protocol)) as sock, pytest.raises(errors.Invalid, match=message):
        realtime_channel(sock, "5ms", "2Mbps", destination=destination, service=service.way)
    assert service.asked == []


def test_lists_all_pages(service: GuestService) -> None:
    with Service(service.way) as asking:
        for port in range(40):
            asking.ask(replace(CONTRACT, dst_port=port))
        assert [each.channel_id for each in asking.channels()] == [*range(FIRST_ID, FIRST_ID + 40)]


def test_lists_all_channels_of_a_file(service: GuestService) -> None:
    """A VM has no quota of those."""
    service.channels = {label: Held(CONTRACT, 0) for label in range(1, 2001)}
    with Service(service.way) as asking:
        assert [each.channel_id for each in asking.channels()] == [*service.channels]


def test_a_vm_without_ipv6_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")

    monkeypatch.setattr(socket, "socket", refuse)
    with pytest.raises(errors.NoService, match="no way to fe80::5256: Address family not supported"):
        Service(Way("fe80::5256", 1021, 1))
