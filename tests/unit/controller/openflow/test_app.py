"""The os-ken app with real connections: the handshake, what the switches say, and that nothing of them is left.

os-ken's registry is global, so one app serves all tests of this file; its threads end with the process.
"""

from __future__ import annotations

import queue
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress

import pytest
from support.examples import example
from support.openflow_switch import ERROR, FLOW, QUEUE, OpenFlowSwitch, Type
from support.waiting import PATIENCE_S, Mailbox, wait_until

from bench.openflow_frames import (
    ECHO_REQUEST,
    GENUINE,
    HANGING,
    PORT_STATUS,
    flow,
    match,
    message,
    multipart,
    oxm,
    packet_in,
    port,
)
from controller.domain.events import (
    AskContents,
    AskMeters,
    AskQueues,
    Confirmed,
    Contents,
    ContentsReported,
    Event,
    MetersReported,
    PortReported,
    QueueCount,
    QueuesReported,
    Refused,
    Send,
    SwitchConnected,
    SwitchGone,
    Traffic,
)
from controller.openflow import app, connections, frames, porter, sender
from controller.openflow.flows import base_entries
from controller.openflow.pipeline import COOKIE_MARK, FlowEntry, Purpose
from controller.openflow.switches import Switches

NETWORK = example("ovs_core")
LEFT, EAST = NETWORK.datapath_id("left"), NETWORK.datapath_id("east")
FROM_PORT_10 = COOKIE_MARK | Purpose.GUEST << 40 | 10 << 20
ECHO_INTERVAL_S = 0.1
UNANSWERED_ECHOES_MAX = 9
HANDSHAKE = [Type.HELLO, Type.FEATURES_REQUEST, Type.MULTIPART_REQUEST]


class Server:
    """The app as `controller.launcher` starts it, with a mailbox in place of the domain."""

    def __init__(self) -> None:
        self.mailbox = Mailbox()
        self.heard: queue.Queue[tuple[int, bytes]] = queue.Queue()
        self.connected: set[str] = set()
        self.switches = Switches(NETWORK, "left", self._post, self._hear)
        listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port: int = listener.getsockname()[1]
        app.start(self.switches)
        app.listen(listener)

    def _post(self, event: Event) -> None:
        if isinstance(event, SwitchConnected):
            self.connected.add(event.bridge)
        self.mailbox.post(event)
        if isinstance(event, SwitchGone):
            self.connected.discard(event.bridge)

    def _hear(self, port: int, frame: bytes) -> None:
        self.heard.put((port, frame))


@pytest.fixture(scope="module")
def only_server() -> Server:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(app, "ECHO_INTERVAL_S", ECHO_INTERVAL_S)
        patch.setattr(app, "UNANSWERED_ECHOES_MAX", UNANSWERED_ECHOES_MAX)
        return Server()


@pytest.fixture
def server(only_server: Server) -> Iterator[Server]:
    """With an empty mailbox, and after the test with no connection left, nor word of one."""
    before = set(threading.enumerate())
    only_server.mailbox = Mailbox()
    yield only_server
    wait_until(lambda: set(threading.enumerate()) <= before, "threads of a switch are left")
    wait_until(lambda: not only_server.connected, "nobody said that a switch is gone")


def test_a_switch_tells_which_ports_are_down_and_when_that_changes(server: Server) -> None:
    with OpenFlowSwitch(server.port, EAST, down=[3]) as switch:
        assert server.mailbox.next() == SwitchConnected("east", frozenset({3}))
        switch.change_port(3, is_up=True)
        assert server.mailbox.next() == PortReported("east", 3, is_up=True)
        switch.change_port(4, is_up=False)
        assert server.mailbox.next() == PortReported("east", 4, is_up=False)


def test_a_switch_tells_what_its_meters_dropped(server: Server) -> None:
    with OpenFlowSwitch(server.port, EAST):
        assert server.mailbox.next() == SwitchConnected("east")
        server.switches.order(AskMeters("east"))
        assert server.mailbox.next() == MetersReported("east", {1: 7})


def test_none_of_its_threads_keeps_a_process_alive(server: Server) -> None:
    with OpenFlowSwitch(server.port, EAST):
        assert server.mailbox.next() == SwitchConnected("east")
        assert all(thread.daemon for thread in threading.enumerate() if thread is not threading.main_thread())


def test_a_switch_connects_and_goes(server: Server) -> None:
    with OpenFlowSwitch(server.port, EAST) as switch:
        assert server.mailbox.next() == SwitchConnected("east")
        assert [switch.received.get(timeout=PATIENCE_S) for _ in HANDSHAKE] == HANDSHAKE
    assert server.mailbox.next() == SwitchGone("east")


def test_a_switch_that_hangs_up_leaves_no_thread_behind(server: Server) -> None:
    before = set(threading.enumerate())
    for _ in range(5):
        with OpenFlowSwitch(server.port, LEFT):
            assert server.mailbox.next() == SwitchConnected("left")
            names = {thread.name for thread in set(threading.enumerate()) - before}
            assert "sender of left" in names
        assert server.mailbox.next() == SwitchGone("left")
    wait_until(lambda: set(threading.enumerate()) <= before)


def test_a_connection_that_ends_before_its_handshake_leaves_nothing_behind(server: Server) -> None:
    for data in (b"", b"\x04", b"\x04\x00\x00\x08\x00\x00\x00\x01"):
        with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE_S) as connection:
            connection.sendall(data)
    with OpenFlowSwitch(server.port, LEFT):
        assert server.mailbox.next() == SwitchConnected("left")


def test_what_is_no_openflow_is_hung_up_on_and_harms_nobody(server: Server) -> None:
    with OpenFlowSwitch(server.port, LEFT):
        assert server.mailbox.next() == SwitchConnected("left")
        with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE_S) as stranger:
            stranger.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" + bytes(1 << 16))
            with suppress(ConnectionResetError):
                while stranger.recv(1 << 16):
                    pass
        server.switches.order(AskQueues("left"))
        assert isinstance(server.mailbox.next(), QueuesReported)


def test_a_switch_that_speaks_another_version_is_turned_away(server: Server) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE_S) as old:
        old.sendall(b"\x01\x00\x00\x08\x00\x00\x00\x01")
        answer = b""
        while received := old.recv(1 << 16):
            answer += received
    assert b"unsupported version 0x1" in answer
    assert server.mailbox.is_empty


def test_a_batch_is_confirmed(server: Server) -> None:
    entries = base_entries(NETWORK, "left")
    with OpenFlowSwitch(server.port, LEFT) as switch:
        assert server.mailbox.next() == SwitchConnected("left")
        server.switches.order(Send("left", 7, entries))
        assert server.mailbox.next() == Confirmed("left", 7)
        kinds = [switch.received.get(timeout=PATIENCE_S) for _ in range(len(HANDSHAKE) + len(entries) + 1)]
    flows = [Type.FLOW_MOD if isinstance(entry, FlowEntry) else Type.GROUP_MOD for entry in entries]
    assert kinds == [*HANDSHAKE, *flows, Type.BARRIER_REQUEST]


def test_a_closed_port_needs_the_hardware_address_that_the_switch_has_told(server: Server) -> None:
    for bridge in ("left", "east"):
        with OpenFlowSwitch(server.port, NETWORK.datapath_id(bridge)):
            server.mailbox.next_of(SwitchConnected)
            server.switches.order(Send(bridge, 8, base_entries(NETWORK, bridge)))
            assert server.mailbox.next() == Confirmed(bridge, 8)
        server.mailbox.next_of(SwitchGone)


def test_a_refusal_names_the_entry_and_the_reason(server: Server) -> None:
    entries = base_entries(NETWORK, "left")
    flows = [entry for entry in entries if isinstance(entry, FlowEntry)]
    with OpenFlowSwitch(server.port, LEFT, refuses=[2]):
        assert server.mailbox.next() == SwitchConnected("left")
        server.switches.order(Send("left", 7, entries))
        refusal = server.mailbox.next()
        assert isinstance(refusal, Refused)
        assert (refusal.batch, refusal.entry) == (7, flows[2])
        assert "OFPFMFC_TABLE_FULL" in refusal.why
        assert server.mailbox.next() == Confirmed("left", 7)


def test_flows_are_told_as_a_whole(server: Server) -> None:
    one, two = COOKIE_MARK | 1, COOKIE_MARK | 2
    with OpenFlowSwitch(server.port, LEFT, flows=[[(one, 1, 60), (7, 9, 9)], [(two, 2, 120)]]):
        assert server.mailbox.next() == SwitchConnected("left")
        server.switches.order(AskContents("left"))
        assert server.mailbox.next() == ContentsReported(
            "left", Contents(flows={one: Traffic(1, 60), two: Traffic(2, 120)})
        )


def test_queues_are_told(server: Server) -> None:
    with OpenFlowSwitch(server.port, LEFT):
        assert server.mailbox.next() == SwitchConnected("left")
        server.switches.order(AskQueues("left"))
        assert server.mailbox.next() == QueuesReported("left", (QueueCount(1, 5, Traffic(3, 300), 0),))


def test_a_switch_that_is_too_slow_is_hung_up_on_and_gone(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sender, "ORDERS_MAX", 1)
    with OpenFlowSwitch(server.port, LEFT, answers_barriers=False):
        assert server.mailbox.next() == SwitchConnected("left")
        for number in range(3):
            server.switches.order(Send("left", number, ()))
        assert server.mailbox.next() == SwitchGone("left")


def test_a_switch_that_falls_silent_is_gone(server: Server) -> None:
    with OpenFlowSwitch(server.port, LEFT, answers_echoes=False):
        assert server.mailbox.next() == SwitchConnected("left")
        assert server.mailbox.next() == SwitchGone("left")


def test_a_switch_that_connects_twice_is_served_at_its_second_connection(server: Server) -> None:
    with OpenFlowSwitch(server.port, LEFT) as first:
        assert server.mailbox.next() == SwitchConnected("left")
        with OpenFlowSwitch(server.port, LEFT) as second:
            assert server.mailbox.next() == SwitchConnected("left")
            first.close()
            server.switches.order(AskQueues("left"))
            assert isinstance(server.mailbox.next(), QueuesReported)
            kinds = [second.received.get(timeout=PATIENCE_S) for _ in range(len(HANDSHAKE) + 1)]
            assert kinds == [*HANDSHAKE, Type.MULTIPART_REQUEST]
        assert server.mailbox.next() == SwitchGone("left")


@pytest.mark.parametrize("frame", HANGING.values(), ids=HANGING)
def test_what_hangs_the_parser_harms_nobody(server: Server, frame: bytes) -> None:
    with OpenFlowSwitch(server.port, LEFT) as switch, OpenFlowSwitch(server.port, EAST):
        assert {server.mailbox.next(), server.mailbox.next()} == {SwitchConnected("left"), SwitchConnected("east")}
        with suppress(OSError):  # hung up on, where it is bad
            switch.connection.sendall(frame)
            switch.send(Type.ECHO_REQUEST, 5)
        server.switches.order(AskQueues("east"))
        assert server.mailbox.next_of(QueuesReported).bridge == "east"
    wait_until(lambda: not any(thread.name.startswith("switch at") for thread in threading.enumerate()))


def test_a_bad_message_ends_its_connection_and_the_log_says_why(
    server: Server, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "COMPLAINTS_EVERY_S", 0.0)
    with OpenFlowSwitch(server.port, LEFT) as switch:
        assert server.mailbox.next() == SwitchConnected("left")
        time.sleep(1.1)  # complaints of the tests before this one may have been the last for a second
        switch.connection.sendall(HANGING["meter"])
        assert server.mailbox.next() == SwitchGone("left")
    why = "MULTIPART_REPLY of 56 bytes: METER: a meter at 16 has length 0, with 40 bytes left"
    wait_until(lambda: why in caplog.text)


def test_a_vendors_error_is_told_to_the_log(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    with OpenFlowSwitch(server.port, LEFT) as switch:
        assert server.mailbox.next() == SwitchConnected("left")
        switch.connection.sendall(GENUINE["vendor's error"])
        wait_until(lambda: "the switch left: OFPET_EXPERIMENTER" in caplog.text)


def test_what_os_ken_cannot_read_is_left_out(server: Server) -> None:
    with OpenFlowSwitch(server.port, LEFT) as switch:
        assert server.mailbox.next() == SwitchConnected("left")
        switch.connection.sendall(multipart(1, flow(match(oxm(3, b"short")))))
        server.switches.order(AskQueues("left"))
        assert isinstance(server.mailbox.next(), QueuesReported)


def test_what_a_vm_sends_to_the_service_is_heard(server: Server) -> None:
    with OpenFlowSwitch(server.port, LEFT) as switch:
        assert server.mailbox.next() == SwitchConnected("left")
        switch.connection.sendall(packet_in(FROM_PORT_10, b"a frame"))
        assert server.heard.get(timeout=PATIENCE_S) == (10, b"a frame")


def test_no_other_packet_that_a_switch_hands_up_is_heard(server: Server) -> None:
    flow_of_a_channel = COOKIE_MARK | Purpose.TALKER << 40 | 10 << 20
    with OpenFlowSwitch(server.port, LEFT) as switch, OpenFlowSwitch(server.port, EAST) as east:
        assert {server.mailbox.next(), server.mailbox.next()} == {SwitchConnected("left"), SwitchConnected("east")}
        for cookie in (0, flow_of_a_channel, COOKIE_MARK | 0xFF << 40):
            switch.connection.sendall(packet_in(cookie, b"a frame"))
        switch.connection.sendall(packet_in(FROM_PORT_10, bytes(frames.PACKET_IN_BYTES_MAX + 1)))
        east.connection.sendall(packet_in(FROM_PORT_10, b"a frame"))
        for bridge in ("left", "east"):
            server.switches.order(AskQueues(bridge))
            assert isinstance(server.mailbox.next(), QueuesReported)
    assert server.heard.empty()


def test_a_frame_is_sent_by_a_port_of_the_hypervisors_bridge(server: Server) -> None:
    with OpenFlowSwitch(server.port, LEFT) as switch:
        assert server.mailbox.next() == SwitchConnected("left")
        server.switches.send_packet(10, b"a frame")
        assert switch.packets.get(timeout=PATIENCE_S) == (10, b"a frame")


def test_who_does_not_say_which_switch_it_is_is_hung_up_on(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(porter, "HANDSHAKE_S", 0.3)
    for said in (b"", GENUINE["hello"][:9], GENUINE["hello"], GENUINE["hello"] + GENUINE["features"]):
        with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE_S) as connection:
            connection.sendall(said)
            with suppress(ConnectionResetError):
                while connection.recv(1 << 16):
                    pass
    assert server.mailbox.is_empty


def test_the_silent_do_not_keep_a_switch_out(server: Server) -> None:
    with ExitStack() as silent:
        for _ in range(400):
            silent.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE_S))
        with OpenFlowSwitch(server.port, LEFT):
            assert server.mailbox.next() == SwitchConnected("left")
            for _ in range(400):
                silent.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE_S))
            server.switches.order(AskQueues("left"))
            assert isinstance(server.mailbox.next(), QueuesReported)


def test_a_switch_that_has_too_many_ports_is_hung_up_on(server: Server) -> None:
    with OpenFlowSwitch(server.port, LEFT) as switch:
        assert server.mailbox.next() == SwitchConnected("left")
        with suppress(OSError):
            for number in range(app.PORTS_MAX + 1):
                switch.connection.sendall(message(PORT_STATUS, bytes(8) + port(1000 + number)))
        server.mailbox.next_of(SwitchGone)


def test_it_tells_its_ports_only_after_its_name(server: Server) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE_S) as connection:
        connection.sendall(GENUINE["hello"] + GENUINE["port desc"] + message(ECHO_REQUEST, b"still there"))
        answer = b""
        while b"still there" not in answer:
            answer += connection.recv(1 << 16)
    assert server.mailbox.is_empty


def test_a_switch_that_is_not_in_the_file_is_left_alone_and_not_listened_to(server: Server) -> None:
    with OpenFlowSwitch(server.port, 0xABCDEF) as stranger, OpenFlowSwitch(server.port, EAST):
        assert server.mailbox.next() == SwitchConnected("east")
        assert [stranger.received.get(timeout=PATIENCE_S) for _ in HANDSHAKE] == HANDSHAKE
        server.switches.order(AskQueues("east"))
        assert isinstance(server.mailbox.next(), QueuesReported)
        stranger.send(Type.BARRIER_REPLY, 77)
        stranger.send(Type.ERROR, 77, ERROR.pack(5, 1) + bytes(64))
        stranger.tell(77, FLOW)
        stranger.tell(77, QUEUE)
        stranger.send(Type.ECHO_REQUEST, 78)  # answered after all of that
        assert stranger.received.get(timeout=PATIENCE_S) == Type.ECHO_REPLY
        assert stranger.received.empty()
    assert server.mailbox.next() == SwitchGone("east")
    assert server.mailbox.is_empty
