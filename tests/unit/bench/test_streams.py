"""What experiments share: the file that declares their network, and what a stream's packets say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from made import packets, stream

from bench.stalls import Stall
from bench.streams import COUNTS, LISTENER, NOISE, SINK, Exchange, Packet, counted, in_stalls, network_of, topology
from bench.traffic import main
from controller.errors import InvalidFile
from controller.units import NS_PER_MS

TERMS = {"deadline": "5ms", "min_rate": "2Mbps"}


def test_a_topology_has_the_channels_and_what_floods_them() -> None:
    with network_of(topology("50Mbps", {"one": TERMS, "two": {**TERMS, "from": "other"}}, "1ms")) as network:
        one, two = network.channels.values()
        assert (one.talker, two.talker) == ("talker", "other")
        assert {one.listener, two.listener} == {LISTENER}
        assert one.dst_port != two.dst_port
        assert {vm.name for vm in network.vms_of("left")} == {"talker", "other", NOISE}
        assert {vm.name for vm in network.vms_of("right")} == {LISTENER, SINK}
        assert network.hypervisors["left"].allowance_ns == NS_PER_MS


def test_a_network_may_ask_for_too_much_only_where_nobody_minds() -> None:
    text = topology("2Mbps", {"one": TERMS}, "1ms")
    with network_of(text, is_admission_asked=False) as network:
        assert list(network.channels) == ["one"]
    with pytest.raises(InvalidFile), network_of(text):
        pass


def test_the_rate_is_that_of_the_time_after_the_start() -> None:
    with network_of(topology("50Mbps", {"one": {**TERMS, "packet": "1000B"}}, "1ms")) as network:
        channel = network.channels["one"]
    steady = packets(3001)
    burst = [replace(packet, sequence=-1) for packet in steady[:500]]
    assert stream(channel, steady).rate_bps(skip_s=1) == pytest.approx(8e6)
    assert stream(channel, [*burst, *steady]).rate_bps(skip_s=1) == pytest.approx(8e6)
    assert stream(channel, []).rate_bps(skip_s=1) == 0


def test_an_exchange_tells_which_misses_are_the_machines() -> None:
    with network_of(topology("50Mbps", {"one": TERMS}, "1ms")) as network:
        arrived = [*packets(10), Packet(20 * NS_PER_MS, 6 * NS_PER_MS, 10), Packet(40 * NS_PER_MS, 6 * NS_PER_MS, 11)]
        exchange = Exchange(
            [stream(network.channels["one"], arrived, sent=13)], [Stall(25 * NS_PER_MS, 30 * NS_PER_MS)]
        )
    assert [packet.sequence for packet in exchange.missed] == [10, 11]
    assert exchange.missed_in_stalls == 1
    assert exchange.streams[0].lost == 1
    assert in_stalls([], exchange.stalls) == 0


def test_a_streams_order_is_that_of_arrival() -> None:
    with network_of(topology("50Mbps", {"one": TERMS}, "1ms")) as network:
        first, second, third = packets(3)
        assert stream(network.channels["one"], [first, third, second]).reordered == 1


def test_counts_are_those_since_before() -> None:
    before = {**dict.fromkeys(COUNTS, 2), "lateness": {"count": 2}}
    now = {**dict.fromkeys(COUNTS, 7), "lateness": {"count": 8}}
    assert counted(before, now) == {**dict.fromkeys(COUNTS, 5), "judged": 6}


def test_programs_run_together(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "streams.txt"
    lines = ["receive --address 127.0.0.1 --port 45671 --count 3 --seconds 5"]
    lines += ["send --to 127.0.0.1:45671 --count 3 --rate 1Mbps --payload 100"]
    file.write_text("\n".join(lines))
    assert main(["together", str(file)]) == 0
    ready, results = capsys.readouterr().out.splitlines()
    assert ready == "ready"
    assert '"received": 3' in results
    assert '"sent": 3' in results
