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
  video: {from: camera, to: screen, deadline: 5ms, min_rate: 2Mbps}
"""


@pytest.fixture
def slow(tmp_path: Path) -> Path:
    file = tmp_path / "slow.yaml"
    file.write_text(SLOW)
    return file


def test_a_file_that_is_admitted(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", str(EXAMPLES / "paper_experiment2.yaml")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == ["the", "uplink", "of", "left", "100Mbps", "3", "6.3%", "2ms", "866us", "admitted"]
    assert lines[4].split()[0] == "channel1"


def test_a_file_that_is_refused(slow: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", str(slow)]) == 1
    said = capsys.readouterr()
    assert "refused" in said.out
    assert said.err == (
        "the uplink of left cannot keep all deadlines: "
        "in the worst 2ms it is asked for 17,040 bits more than it sends; "
        "most of it from video; "
        "one of these would do: be_slack: 3.71ms or more\n"
    )


def test_as_json(slow: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", str(slow), "--json"]) == 1
    plan = json.loads(capsys.readouterr().out)
    (link,), (channel,) = plan["links"], plan["channels"]
    assert (link["is_admitted"], link["smallest_be_slack_ns"]) == (False, 3_704_000)
    assert (channel["channel"], channel["smallest_deadline_ns"], channel["largest_min_rate_bps"]) == (
        "video", None, None
    )  # fmt: skip


def test_what_it_advises_is_accepted(slow: Path) -> None:
    slow.write_text(SLOW.replace("{uplink: 10Mbps}", "{uplink: {rate: 10Mbps, be_slack: 3.71ms}}", 1))
    assert main(["plan", str(slow)]) == 0


def test_check_says_no_too_and_where(slow: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(slow)]) == 1
    assert capsys.readouterr().err.startswith(
        f"{slow}:3:18: hypervisors.left.uplink: the uplink of left cannot keep all deadlines"
    )


def test_an_invalid_file_has_no_plan(slow: Path, capsys: pytest.CaptureFixture[str]) -> None:
    slow.write_text(SLOW.replace("5ms", "5"))
    assert main(["plan", str(slow)]) == 1
    assert "has no unit" in capsys.readouterr().err
