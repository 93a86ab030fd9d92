"""`rtvnic apply` and controllers on one store: what is applied reaches switches and shims, what is refused does not."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from controller.topology_file.load import load
from topologies.testbed import STORE, Testbed

SOURCE = Path(__file__).parents[2] / "topologies" / "one_channel.yaml"
PATIENCE_S = 10.0

EXTRA = """
  extra:
    from: {talker}
    to: {listener}
    deadline: {deadline}
    min_rate: {rate}
    protocol: udp
    dst_port: 7100
"""


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("apply") / "network.yaml"
    made.write_text(SOURCE.read_text())
    return made


@pytest.fixture(scope="module")
def testbed(file: Path) -> Iterator[Testbed]:
    with Testbed(load(file)) as testbed:
        testbed.await_channels()
        yield testbed


def with_extra(file: Path, deadline: str = "10ms", rate: str = "1Mbps") -> Path:
    """A file beside `file` with one channel more."""
    (channel,) = load(file).channels.values()
    other = file.with_name("more.yaml")
    extra = EXTRA.format(talker=channel.talker, listener=channel.listener, deadline=deadline, rate=rate)
    other.write_text(file.read_text().rstrip() + extra)
    return other


def apply(file: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "rtvnic", "apply", str(file), "--store", STORE, *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


def eventually(probe: Callable[[], Any], wanted: Any) -> None:
    end_s = time.monotonic() + PATIENCE_S
    while (found := probe()) != wanted:
        assert time.monotonic() < end_s, f"found {found}, wanted {wanted}"
        time.sleep(0.05)


def states(testbed: Testbed) -> dict[str, str]:
    return {name: channel["state"] for name, channel in testbed.channels().items()}


def labelling_flows(testbed: Testbed) -> int:
    words = ["ovs-ofctl", "-O", "OpenFlow13", "dump-flows", "left"]
    done = subprocess.run(words, env=dict(testbed.openvswitch.environment), capture_output=True, text=True, check=True)
    return sum("push_mpls" in line for line in done.stdout.splitlines())


def test_the_same_file_changes_nothing(testbed: Testbed, file: Path) -> None:
    done = apply(file)
    assert (done.returncode, done.stdout.strip()) == (0, "nothing to change")


def test_a_dry_run_says_what_would_come_and_changes_nothing(testbed: Testbed, file: Path) -> None:
    done = apply(with_extra(file), "--dry-run")
    assert done.returncode == 0
    assert "added" in done.stdout and "extra" in done.stdout and "nothing was changed" in done.stdout
    time.sleep(0.5)
    assert "extra" not in states(testbed)


def test_a_channel_comes_changes_and_goes(testbed: Testbed, file: Path) -> None:
    before = set(states(testbed))
    found = json.loads(apply(with_extra(file), "--json").stdout)
    assert found == {"added": ["extra"], "changed": {}, "removed": []}
    eventually(lambda: states(testbed).get("extra"), "installed")
    eventually(lambda: labelling_flows(testbed), 2)

    done = apply(with_extra(file, deadline="12ms"))
    assert "deadline 10ms -> 12ms" in done.stdout
    eventually(lambda: testbed.channels()["extra"]["deadline_ns"], 12_000_000)
    eventually(lambda: states(testbed).get("extra"), "installed")
    eventually(lambda: labelling_flows(testbed), 2)

    assert "removed" in apply(file).stdout
    eventually(lambda: set(states(testbed)), before)
    eventually(lambda: labelling_flows(testbed), 1)


def test_what_cannot_be_kept_is_refused_as_a_whole(testbed: Testbed, file: Path) -> None:
    done = apply(with_extra(file, rate="95Mbps"))
    assert done.returncode == 1
    assert "the uplink of left" in done.stderr and "min_rate" in done.stderr
    assert "Traceback" not in done.stderr
    assert "extra" not in states(testbed)


def test_what_is_exported_can_be_applied(testbed: Testbed, file: Path, tmp_path: Path) -> None:
    apply(with_extra(file))
    words = [sys.executable, "-m", "rtvnic", "export", str(file), "--store", STORE]
    done = subprocess.run(words, capture_output=True, text=True, timeout=30, check=True)
    exported = tmp_path / "exported.yaml"
    exported.write_text(done.stdout)
    assert set(load(exported).channels) == {"video", "extra"}
    assert apply(exported).stdout.strip() == "nothing to change"
    apply(file)


def test_a_signal_applies_the_file_anew(testbed: Testbed, file: Path) -> None:
    original = file.read_text()
    try:
        file.write_text(with_extra(file).read_text())
        os.kill(testbed.child("controller of left").pid, signal.SIGHUP)
        eventually(lambda: states(testbed).get("extra"), "installed")
    finally:
        file.write_text(original)
    os.kill(testbed.child("controller of left").pid, signal.SIGHUP)
    eventually(lambda: "extra" in states(testbed), False)


def test_no_store(file: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "rtvnic", "apply", str(file), "--store", "unix:/nowhere/store.sock"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert "unix:/nowhere/store.sock" in done.stderr and "Traceback" not in done.stderr


def test_the_store_knows_how_ends_stand(testbed: Testbed) -> None:
    """Whoever reads it, such as another tool."""
    words = ["ovsdb-client", "dump", STORE, "RTvNIC", "Channel", "talker_state", "listener_state", "-f", "json"]

    def standing() -> set[str]:
        done = subprocess.run(words, capture_output=True, text=True, check=True)
        return {str(each) for row in json.loads(done.stdout)["data"] for each in row}

    eventually(standing, {"installed"})


def test_the_rest_api_tells_owner_and_version(testbed: Testbed) -> None:
    (hypervisor, *_) = testbed.network.hypervisors.values()
    (channel,) = httpx.get(f"{hypervisor.controller.rest_url}/v1/channels", timeout=5, trust_env=False).json()
    assert channel["owner"] == "file" and channel["version"] >= 1
