"""A host at an Open vSwitch switch, whose queues know classes by label and by DSCP. Needs root."""

from __future__ import annotations

from pathlib import Path

from support.examples import TOPOLOGIES
from support.exchange import run_in
from support.wire import capture

from controller.topology_file.load import load
from topologies.cables import nic_of
from topologies.testbed import Testbed

TEXT = (TOPOLOGIES / "plain_host.yaml").read_text() + "switches: {core: {kind: ovs, controlled_by: left}}"
EXPEDITED = 46
"""The DSCP of a deadline class."""


def test_what_the_host_marks_as_urgent_is_best_effort(tmp_path: Path) -> None:
    file = tmp_path / "host.yaml"
    file.write_text(TEXT)
    with Testbed(load(file)) as testbed:
        testbed.await_channels()
        under = ("nsenter", "--net", f"--target={testbed.pid('camera')}")
        with capture(nic_of(testbed.network.vms["camera"]), "icmp[0] = 8", 1, tmp_path, under) as delivered:
            run_in(testbed, "recorder", "ping", "-c", 1, "-w", 10, "-Q", EXPEDITED << 2, "10.0.0.1")
        assert [frame[15] >> 2 for frame in delivered.frames] == [0]
