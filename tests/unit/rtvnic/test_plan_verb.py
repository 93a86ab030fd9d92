"""What `rtvnic plan` says of a file, and how it ends."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from matplotlib.figure import Figure

import topologies
from rtvnic import plan
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
    assert re.split(" {2,}", header) == (
        ["link", "server", "rate", "channels", "asked", "be_slack", "smallest be_slack", "verdict"]
    )
    assert uplink.split()[4:] == ["edf", "100Mbps", "3", "6.3%", "2ms", "866us", "admitted"]
    assert uplink.startswith("the uplink of left ")
    assert port.split()[6:] == ["plain", "100Mbps", "3", "6.3%", "-", "-", "admitted"]
    assert port.startswith("the port of core to right ")
    assert re.split(" {2,}", rest[-4])[1:3] == ["hops + allowance", "bound"]
    assert re.split(" {2,}", rest[-3]) == (
        ["channel1", "1.409ms + 246.7us + 200us", "1.856ms", "3ms", "1.144ms", "830us", "2Mbps", "91.2Mbps", "3092"]
    )


def test_a_file_that_is_refused(slow: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", str(slow)]) == 1
    said = capsys.readouterr()
    assert "refused" in said.out
    assert said.err.splitlines()[-1] == (
        f"{slow}:3:18: hypervisors.left.uplink: the uplink of left: not all deadlines can be kept: "
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


def test_what_a_column_says_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["plan", "--help"])
    explained = {line[2:21].strip() for line in capsys.readouterr().out.splitlines() if line.startswith("  ")}
    plain = {"link", "rate", "channels", "verdict", "channel", "deadline", "min_rate"}
    assert {*plan.LINK_HEADERS, *plan.CHANNEL_HEADERS} - plain <= explained


def test_what_it_advises_is_accepted(slow: Path) -> None:
    slow.write_text(SLOW.replace("{uplink: 10Mbps}", "{uplink: {rate: 10Mbps, be_slack: 3.72ms}}", 1))
    assert main(["plan", str(slow)]) == 0


def test_check_says_no_in_the_same_words(slow: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(slow)]) == 1
    said = capsys.readouterr().err
    main(["plan", str(slow), "--json"])
    assert json.loads(capsys.readouterr().out)["refusals"] == said.splitlines()


def test_the_json_of_what_is_admitted_adds_up(slow: Path, capsys: pytest.CaptureFixture[str]) -> None:
    slow.write_text(SLOW.replace("10Mbps", "100Mbps"))
    assert main(["plan", str(slow), "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    (channel,) = plan["channels"]
    assert channel["bound_ns"] == channel["allowance_ns"] + sum(hop["bound_ns"] for hop in channel["hops"])
    assert channel["margin_ns"] == channel["deadline_ns"] - channel["bound_ns"] > 0
    assert plan["refusals"] == []
    assert [point["t_ns"] for point in plan["links"][0]["utilisation"]][-1] == 4_000_000


def test_behind_the_uplink_is_told_what_may_come(slow: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Besides a frame of best effort there come at once a frame, and by 100 Mb/s two full packets and 8 ms of video."""
    slow.write_text(SLOW.replace("10Mbps", "100Mbps"))
    main(["plan", str(slow), "--json"])
    link = json.loads(capsys.readouterr().out)["links"][1]
    first, last = link["utilisation"][0], link["utilisation"][-1]
    frames, burst = 8 * (1538 + 1546), 8 * 2 * 1546
    assert (first["sent_bits"], last["sent_bits"]) == (first["t_ns"] // 10, last["t_ns"] // 10)
    assert first["asked_bits"] == frames + -(-first["t_ns"] // 10) > first["sent_bits"], "it waits"
    more = link["asked_bps"] * (last["t_ns"] + 8_000_000) // 10**9
    assert last["asked_bits"] == pytest.approx(8 * 1538 + burst + more, abs=16)
    assert last["asked_bits"] < last["sent_bits"], "all of it has gone"


def test_class_queues_alone_have_no_slack_but_all_that_may_come(slow: Path, capsys: pytest.CaptureFixture[str]) -> None:
    slow.write_text(SLOW.replace("{uplink: 10Mbps}", "{uplink: {rate: 100Mbps, scheduler: queues}}"))
    assert main(["plan", str(slow)]) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[1].split()[4:] == ["queues", "100Mbps", "1", "2.1%", "-", "-", "admitted"]
    assert "the uplink of left: what may come within t, of what can be sent\n" in out
    main(["plan", str(slow), "--json"])
    link, _ = json.loads(capsys.readouterr().out)["links"]
    first = link["utilisation"][0]
    assert first["asked_bits"] == 8 * 3 * 1546 - (-link["asked_bps"] * first["t_ns"] // 10**9)


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


Drawn = list[tuple[Figure, tuple[float, float]]]


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> Drawn:
    """The figures that are drawn, with their sizes."""
    figures: Drawn = []

    def save_plot(file: Path, draw: Callable[[Figure], None], size: tuple[float, float]) -> None:
        figures.append((Figure(figsize=size), size))
        draw(figures[-1][0])

    monkeypatch.setattr(plan, "save_plot", save_plot)
    return figures


@pytest.mark.parametrize("scheduler", ["edf", "queues"])
def test_a_chart_of_each_link_shows_what_json_tells(
    slow: Path, drawn: Drawn, capsys: pytest.CaptureFixture[str], scheduler: str
) -> None:
    slow.write_text(SLOW.replace("{uplink: 10Mbps}", f"{{uplink: {{rate: 100Mbps, scheduler: {scheduler}}}}}"))
    assert main(["plan", str(slow), "--json", "--plot", "plan.png"]) == 0
    links = json.loads(capsys.readouterr().out)["links"]
    ((figure, _),) = drawn
    assert [axes.get_title() for axes in figure.axes] == [f"{link['link']} ({link['server']})" for link in links]
    for axes, link in zip(figure.axes, links, strict=True):
        sent, asked = axes.get_lines()
        assert [list(line.get_ydata()) for line in (sent, asked)] == [
            [point[what] / 1000 for point in link["utilisation"]] for what in ("sent_bits", "asked_bits")
        ]
        assert list(asked.get_xdata()) == list(sent.get_xdata()) == (
            [point["t_ns"] / 10**6 for point in link["utilisation"]]
        )  # fmt: skip


def ring(count: int) -> str:
    """Each of `count` hypervisors has a channel to the next."""
    hypervisors = [f"  h{each}: {{uplink: 1Gbps}}" for each in range(count)]
    vms = [f"  v{each}: {{hypervisor: h{each}, ip: 10.0.0.{each + 1}}}" for each in range(count)]
    ends = [(each, (each + 1) % count) for each in range(count)]
    channels = [f"  c{one}: {{from: v{one}, to: v{two}, deadline: 8ms, min_rate: {one + 1}Mbps}}" for one, two in ends]
    return "\n".join(["version: 1", "hypervisors:", *hypervisors, "vms:", *vms, "channels:", *channels])


def test_a_picture_grows_with_its_charts_up_to_the_busiest_60(
    slow: Path, drawn: Drawn, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(plan, "ADVISED_MOST", 0)
    for count in (2, 12, 40):
        slow.write_text(ring(count))
        assert main(["plan", str(slow), "--plot", "plan.png"]) == 0
    (_, (_, low)), (_, (_, high)), (most, _) = drawn
    assert high == 4 * low, "24 charts, three abreast"
    assert "plan.png shows the 60 of 80 links that are asked for most" in capsys.readouterr().err
    assert {axes.get_title() for axes in most.axes} >= {"the uplink of h39 (edf)", "the port of core to h0 (plain)"}
    assert "the uplink of h0 (edf)" not in {axes.get_title() for axes in most.axes}


def test_a_picture_is_saved(slow: Path, tmp_path: Path) -> None:
    assert main(["plan", str(slow), "--plot", str(tmp_path / "plan.png")]) == 1
    assert (tmp_path / "plan.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("old", "new"),
    [("hypervisor: right", "hypervisor: left"), ("{uplink: 10Mbps}", "{uplink: {rate: 100Mbps, scheduler: fifo}}")],
)
def test_a_picture_of_nothing_is_refused(
    slow: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], old: str, new: str
) -> None:
    slow.write_text(SLOW.replace(old, new))
    assert main(["plan", str(slow), "--plot", str(tmp_path / "plan.png")]) == 2
    assert "there is nothing to draw" in capsys.readouterr().err
    assert not (tmp_path / "plan.png").exists()


def test_an_invalid_file_has_no_plan(slow: Path, capsys: pytest.CaptureFixture[str]) -> None:
    slow.write_text(SLOW.replace("8ms", "8"))
    assert main(["plan", str(slow)]) == 1
    assert "has no unit" in capsys.readouterr().err
