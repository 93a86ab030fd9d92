"""`rtvnic bridge` before it comes to Open vSwitch: which files it takes."""

from __future__ import annotations

from pathlib import Path

import pytest

from controller import runtime
from rtvnic.__main__ import main

CROWDED = """version: 1
hypervisors: {left: {uplink: 100Mbps}, right: {uplink: 100Mbps}}
vms: {a: {hypervisor: left, ip: 10.0.0.1}, b: {hypervisor: right, ip: 10.0.0.2}}
channels: {video: {from: a, to: b, deadline: 5ms, min_rate: 99Mbps}}
"""


@pytest.mark.parametrize(("words", "code", "complaint"), [
    ([], 1, "the uplink of left"),
    (["--remove"], 2, "Open vSwitch does not run"),
])  # fmt: skip
def test_a_bridge_can_be_removed_whatever_the_links_cannot_keep(
    words: list[str], code: int, complaint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr(runtime, "RUN_DIR", tmp_path)
    monkeypatch.setattr("ovs_config.openvswitch.of_system", lambda: None)
    file = tmp_path / "net.yaml"
    file.write_text(CROWDED)
    assert main(["bridge", str(file), "--domain", "left", *words]) == code
    assert complaint in capsys.readouterr().err
