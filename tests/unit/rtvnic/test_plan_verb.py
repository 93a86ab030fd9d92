"""What `rtvnic plan` says of a file, and how it ends."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import topologies
from rtvnic.__main__ import main

EXAMPLES = Path(topologies.__file__).parent
SLOW = """\
version: 1
hypervisors:
  left: {uplink: 10Mbps}
  right: {uplink: 10Mbps}
vms:
  camera: {hypervisor: left, ip: 10.0.0.1}
  screen: {hypervisor: right, ip: 10.0.0.2}
channels:
  video: {from: camera, to: screen, deadline: 8ms, min_rate: 2Mbps}
"""
"""Two full packets and one of best effort take 3.704 ms of the uplink; beyond it, one of each takes 2.467 ms."""


@pytest.fixture
def slow(tmp_path: Path) -> Path:
    file = tmp_path / "slow.yaml"
    file.write_text(SLOW)
    return file


def test_a_file_that_is_admitted(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", str(EXAMPLES / "paper_experiment2.yaml")]) == 0
    header, uplink, port, *rest = capsys.readouterr().out.splitlines()
    assert header.split() == ["link", "server", "rate", "channels", "asked", "be_slack", "smallest", "verdict"]
    assert uplink.split()[4:] == ["edf", "100Mbps", "3", "6.3%", "2ms", "866us", "admitted"]
    assert uplink.startswith("the uplink of left ")
    assert port.split()[6:] == ["plain", "100Mbps", "3", "6.3%", "-", "-", "admitted"]
    assert port.startswith("the port of core to right ")
    assert rest[-3].split() == (
        ["channel1", "1.409ms", "+", "246.7us", "1.856ms", "3ms", "1.144ms", "830us", "2Mbps", "91.2Mbps", "3092"]
    )


def test_a_file_that_is_refused(slow: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", str(slow)]) == 1
    said = capsys.readouterr()
    assert "refused" in said.out
    assert said.err.splitlines()[-1] == (
        "the uplink of left: not all deadlines can be kept: "
        "in the worst 2ms it is asked for 17,104 bits more than it sends; "
        "most of it from video; "
        "one of these would do: be_slack: 3.72ms or more"
    )


def test_as_json(slow: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", str(slow), "--json"]) == 1
    plan = json.loads(capsys.readouterr().out)
    (uplink, port), (channel,) = plan["links"], plan["channels"]
    assert (uplink["server"], uplink["is_admitted"], uplink["smallest_be_slack_ns"]) == ("edf", False, 3_720_000)
    assert (port["server"], port["is_admitted"], port["smallest_be_slack_ns"]) == ("plain", True, None)
    assert channel["hops"] == [
        {"at": "the uplink of left", "server": "edf", "bound_ns": None},
        {"at": "the port of core to right", "server": "plain", "bound_ns": 2_467_200},
    ]
    assert (channel["allowance_ns"], channel["bound_ns"], channel["margin_ns"]) == (200_000, None, None)
    assert len(plan["refusals"]) == 1
    assert (channel["channel"], channel["smallest_deadline_ns"], channel["largest_min_rate_bps"]) == (
        "video", None, None
    )  # fmt: skip


def test_what_it_advises_is_accepted(slow: Path) -> None:
    slow.write_text(SLOW.replace("{uplink: 10Mbps}", "{uplink: {rate: 10Mbps, be_slack: 3.72ms}}", 1))
    assert main(["plan", str(slow)]) == 0


def test_check_says_no_too_and_where(slow: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(slow)]) == 1
    assert capsys.readouterr().err.startswith(
        f"{slow}:3:18: hypervisors.left.uplink: the uplink of left: not all deadlines can be kept"
    )


def test_the_json_of_what_is_admitted_adds_up(slow: Path, capsys: pytest.CaptureFixture[str]) -> None:
    slow.write_text(SLOW.replace("10Mbps", "100Mbps"))
    assert main(["plan", str(slow), "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    (channel,) = plan["channels"]
    assert channel["bound_ns"] == channel["allowance_ns"] + sum(hop["bound_ns"] for hop in channel["hops"])
    assert channel["margin_ns"] == channel["deadline_ns"] - channel["bound_ns"] > 0
    assert plan["refusals"] == []
    assert [point["t_ns"] for point in plan["links"][0]["utilisation"]][-1] == 4_000_000
    assert plan["links"][1]["utilisation"] == []


def test_class_queues_alone_have_neither_a_slack_nor_a_chart(slow: Path, capsys: pytest.CaptureFixture[str]) -> None:
    slow.write_text(SLOW.replace("{uplink: 10Mbps}", "{uplink: {rate: 100Mbps, scheduler: queues}}"))
    assert main(["plan", str(slow)]) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[1].split()[4:] == ["queues", "100Mbps", "1", "2.1%", "-", "-", "admitted"]
    assert "within t" not in out


def test_a_slack_in_which_not_a_bit_is_sent(slow: Path, capsys: pytest.CaptureFixture[str]) -> None:
    slow.write_text(SLOW.replace("{uplink: 10Mbps}", "{uplink: {rate: 1Mbps, be_slack: 50ns}}"))
    assert main(["plan", str(slow)]) == 1
    assert "refused" in capsys.readouterr().out


def test_what_crosses_no_uplink_has_no_plan(slow: Path, capsys: pytest.CaptureFixture[str]) -> None:
    slow.write_text(SLOW.replace("hypervisor: right", "hypervisor: left"))
    assert main(["plan", str(slow), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"links": [], "channels": [], "refusals": []}


def test_of_many_channels_only_the_bounds_are_told(slow: Path, capsys: pytest.CaptureFixture[str]) -> None:
    more = "min_rate: 2kbps, burst: 1546B, protocol: udp, src_port: 1, dst_port"
    lines = (f"  c{port}: {{from: camera, to: screen, deadline: 40ms, {more}: {port}}}" for port in range(1, 51))
    text = SLOW.replace("10Mbps", "{rate: 1Gbps, be_slack: auto}")
    slow.write_text(text + "\n".join(lines))
    assert main(["plan", str(slow), "--json"]) == 0
    said = capsys.readouterr()
    channels = json.loads(said.out)["channels"]
    assert len(channels) == 51
    assert {channel["smallest_deadline_ns"] for channel in channels} == {None}
    assert {channel["largest_min_rate_bps"] for channel in channels} == {None}
    assert said.err == "", "no progress of what is not done"


def test_the_chart_is_drawn(slow: Path, tmp_path: Path) -> None:
    assert main(["plan", str(slow), "--plot", str(tmp_path / "plan.png")]) == 1
    assert (tmp_path / "plan.png").stat().st_size > 1000


def test_an_invalid_file_has_no_plan(slow: Path, capsys: pytest.CaptureFixture[str]) -> None:
    slow.write_text(SLOW.replace("8ms", "8"))
    assert main(["plan", str(slow)]) == 1
    assert "has no unit" in capsys.readouterr().err
