"""Traffic through the real kernel: source to sink over a veth pair, and through both forwarders. Needs root."""

from __future__ import annotations

import json
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from bench import forwarders
from bench.network import private_network
from bench.stalls import StallWatch
from bench.traffic import BATCH, RECEIVE_BUFFER_BYTES, SO_RCVBUFFORCE, Sink, Source, udp_sink_socket, udp_source_socket
from controller.units import NS_PER_S

ETH_P_ALL = 3
PATIENCE_S = 10.0
PORT = 5004
PROGRAM = (sys.executable, "-m", "bench.traffic")
TALKER, LISTENER = "bn-talker", "bn-listener"


@pytest.fixture(scope="module")
def namespaces() -> Iterator[None]:
    """Two namespaces with a cable: 10.99.0.1 and 10.99.0.2."""
    for name in (TALKER, LISTENER):
        command(f"ip netns add {name}")
    try:
        command(f"ip -n {TALKER} link add eth0 type veth peer name eth0 netns {LISTENER}")
        for number, name in enumerate((TALKER, LISTENER), start=1):
            command(f"ip -n {name} address add 10.99.0.{number}/24 dev eth0")
            command(f"ip -n {name} link set eth0 up")
        yield
    finally:
        for name in (TALKER, LISTENER):
            command(f"ip netns del {name}")


def command(line: str) -> str:
    return subprocess.run(line.split(), check=True, capture_output=True, text=True).stdout


def start(namespace: str, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(["ip", "netns", "exec", namespace, *PROGRAM, *words], stdout=subprocess.PIPE, text=True)


def result(process: subprocess.Popen[str]) -> dict[str, Any]:
    output, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0
    found: dict[str, Any] = json.loads(output)
    return found


def wait_until(holds: Callable[[], bool]) -> None:
    give_up = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < give_up
        time.sleep(0.01)


def start_listening(*words: str) -> subprocess.Popen[str]:
    """A receiving program whose port is open."""
    process = start(LISTENER, *words, "--port", str(PORT))
    wait_until(lambda: f":{PORT}" in command(f"ip netns exec {LISTENER} ss -Hlun"))
    return process


def received_by_listener() -> int:
    statistics = json.loads(command(f"ip -n {LISTENER} -s -j link show eth0"))
    return int(statistics[0]["stats64"]["rx"]["packets"])


@pytest.mark.parametrize("burst", [1, BATCH])
def test_programs_send_and_receive_every_packet(namespaces: None, tmp_path: Path, burst: int) -> None:
    delays = tmp_path / "delays.csv"
    listener = start_listening("receive", "--count", "1000", "--seconds", str(PATIENCE_S), "--delays", str(delays))
    talker = start(
        TALKER, "send", "--to", f"10.99.0.2:{PORT}", "--rate", "20Mbps", "--count", "1000", "--burst", str(burst)
    )
    assert result(talker) == {"sent": 1000, "retried": 0}
    received = result(listener)
    assert {key: received[key] for key in ("received", "bytes", "duplicates", "reordered")} == {
        "received": 1000, "bytes": 1_470_000, "duplicates": 0, "reordered": 0
    }  # fmt: skip
    assert received["delay_ns"]["count"] == 1000
    assert 0 < received["delay_ns"]["min"] <= received["delay_ns"]["max"] < PATIENCE_S * NS_PER_S
    lines = delays.read_text().splitlines()
    assert [line.split(",")[0] for line in lines] == ["sequence", *map(str, range(1000))]


def test_a_signal_ends_a_program_with_its_result(namespaces: None) -> None:
    sink = start_listening("sink")
    talker = start(
        TALKER, "send", "--to", f"10.99.0.2:{PORT}", "--rate", "1Mbps", "--payload", "100", "--priority", "1"
    )
    arrived = received_by_listener()
    wait_until(lambda: received_by_listener() > arrived + 50)
    talker.terminate()
    sent = result(talker)["sent"]
    sink.terminate()
    assert sent > 0
    assert result(sink) == {"received": sent, "bytes": 100 * sent}


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    with udp_sink_socket("127.0.0.1", 0) as bound:
        yield bound


def test_duplicates_and_reordering_are_found(listening: socket.socket) -> None:
    sink = Sink(listening, capacity=6, duration_ns=5 * NS_PER_S)
    sequences = [0, 1, 1, 4, 2, 5]
    with udp_source_socket(*listening.getsockname()) as source:
        for sequence in sequences:
            source.send(struct.pack("!QQ", sequence, time.time_ns()))
    sink.run()
    assert sink.sequences() == sequences
    assert {key: sink.result()[key] for key in ("received", "duplicates", "reordered")} == {
        "received": 6, "duplicates": 1, "reordered": 1
    }  # fmt: skip


def test_a_delay_is_counted_from_the_stamp(listening: socket.socket) -> None:
    sink = Sink(listening, capacity=2, duration_ns=5 * NS_PER_S)
    now_ns = time.time_ns()
    with udp_source_socket(*listening.getsockname()) as source:
        for stamp_ns in (now_ns - 7 * NS_PER_S, now_ns + 7 * NS_PER_S):
            source.send(struct.pack("!QQ", 0, stamp_ns))
    sink.run()
    assert [round(delay / NS_PER_S) for delay in sink.delays_ns()] == [7, -7]


def test_what_is_too_short_for_a_stamp_is_only_counted(listening: socket.socket) -> None:
    sink = Sink(listening, capacity=5, idle_ns=NS_PER_S // 100)
    with udp_source_socket(*listening.getsockname()) as source:
        source.send(b"short")
    sink.run()
    assert (sink.packets, sink.sequences()) == (1, [])


def test_a_sink_waits_for_the_first_packet_before_it_is_idle(listening: socket.socket) -> None:
    sink = Sink(listening, duration_ns=NS_PER_S // 5, idle_ns=1)
    began_ns = time.monotonic_ns()
    sink.run()
    assert time.monotonic_ns() - began_ns >= NS_PER_S // 5


def test_frames_go_out_by_turns(listening: socket.socket) -> None:
    with udp_source_socket(*listening.getsockname()) as channel:
        Source(channel, [b"one", b"two"], burst=4, count=6).run()
    assert [listening.recv(10) for _ in range(6)] == [b"one", b"two"] * 3


def test_another_thread_stops_source_and_sink(listening: socket.socket) -> None:
    sink = Sink(listening)
    with udp_source_socket(*listening.getsockname()) as channel, ThreadPoolExecutor(2) as threads:
        source = Source(channel, [b"frame"], interval_ps=10**9)
        sending, receiving = (threads.submit(job.run) for job in (source, sink))
        wait_until(lambda: sink.packets >= 10)
        source.stop()
        sending.result(PATIENCE_S)
        wait_until(lambda: sink.packets == source.sent)
        sink.stop()
        receiving.result(PATIENCE_S)


@pytest.mark.parametrize("options", [{"burst": BATCH + 1}, {"burst": 0}, {"stamp_offset": 1}])
def test_what_cannot_be_sent_is_refused(listening: socket.socket, options: dict[str, int]) -> None:
    with udp_source_socket(*listening.getsockname()) as channel, pytest.raises(OSError, match="Invalid argument"):
        Source(channel, [bytes(16)], **options).run()


def forwarder(name: str, lane: forwarders.Lane, kind: str) -> AbstractContextManager[None]:
    return forwarders.bare(lane, 1, kind) if name == "bare" else forwarders.shim(lane, 1)


@pytest.mark.parametrize("kind", forwarders.RING_SLOTS)
@pytest.mark.parametrize("name", ["bare", "shim"])
def test_forwarders_pass_on_every_frame_in_order(name: str, kind: str) -> None:
    with private_network() as links, socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as far:
        lane = forwarders.make_lane(links, "lane")
        far.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER_BYTES)
        far.bind(("lane-far", ETH_P_ALL))
        with forwarder(name, lane, kind), socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as near:
            near.bind(("lane-source", 0))
            frame = forwarders.frames(kind, 1514)[0]
            source = Source(near, [frame], interval_ps=20 * 10**6, burst=8, count=5000, stamp_offset=100)
            sink = Sink(far, capacity=5000, duration_ns=5 * NS_PER_S, stamp_offset=100)
            with ThreadPoolExecutor(1) as thread:
                thread.submit(source.run)
                sink.run()
        assert sink.sequences() == list(range(5000))


def test_a_measured_lane_moves_no_more_than_was_sent() -> None:
    with private_network() as links:
        lane = forwarders.make_lane(links, "lane")
        with forwarders.bare(lane, 1, forwarders.BEST_EFFORT):
            rates = forwarders.measure(lane, 0, forwarders.frames(forwarders.BEST_EFFORT, 64), window_s=0.3)
            moved = forwarders.received_packets(lane.far)
        assert 0 < moved <= forwarders.received_packets(lane.inner)
    assert rates.moved > 0
    assert rates.offered > 0


def test_processors_are_watched_for_stalls() -> None:
    with StallWatch() as watch:
        time.sleep(0.5)
    assert all(stall.duration_ns > 0 for stall in watch.stalls)
