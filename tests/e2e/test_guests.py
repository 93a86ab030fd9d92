"""VMs ask for channels, and hear of late packets, over real switches and a real store. Needs root."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.waiting import wait_until

import topologies
from bench.askers import AskingVm
from controller.topology_file.load import load
from controller.units import NS_PER_MS
from guest.messages import Change, Close, List, Listed, Renew, Status
from topologies.testbed import Testbed

FILE = Path(topologies.__file__).parent / "guests.yaml"
DEADLINE_NS = 5 * NS_PER_MS
LATE_NS = 20 * NS_PER_MS
RATE_BPS = 1_000_000
PORT = 7000

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")


@pytest.fixture(scope="module")
def testbed() -> Iterator[Testbed]:
    with Testbed(load(FILE)) as testbed:
        testbed.await_channels()
        yield testbed


@pytest.fixture
def camera(testbed: Testbed) -> Iterator[AskingVm]:
    with AskingVm(testbed, "camera") as asking:
        yield asking
        close_all(asking)


@pytest.fixture
def sensor(testbed: Testbed) -> Iterator[AskingVm]:
    with AskingVm(testbed, "sensor") as asking:
        yield asking
        close_all(asking)


def close_all(asking: AskingVm) -> None:
    for channel in listed(asking):
        if channel.lease_s:
            asking.answer(Close(channel.channel_id))


def listed(asking: AskingVm) -> Any:
    found = asking.ask(List(0))
    assert isinstance(found, Listed)
    return found.channels


def opening(testbed: Testbed, asking: AskingVm, port: int = PORT, rate_bps: int = RATE_BPS, **options: Any) -> Any:
    return asking.opening(testbed.network.vms["screen"], DEADLINE_NS, rate_bps, port, **options)


def get(testbed: Testbed, what: str, domain: str = "left") -> Any:
    url = testbed.network.hypervisors[domain].controller.rest_url
    return httpx.get(f"{url}/v1/{what}", timeout=10, trust_env=False).json()


def channels(testbed: Testbed, domain: str = "left") -> dict[int, Any]:
    return {each["channel_label"]: each for each in get(testbed, "channels", domain)}


def test_a_guest_opens_changes_and_closes_a_channel(testbed: Testbed, camera: AskingVm) -> None:
    found = camera.await_installed(opening(testbed, camera))
    assert (found.status, found.deadline_ns, found.rate_bps) == (Status.DONE, DEADLINE_NS, RATE_BPS)
    assert 0 < found.bound_ns <= DEADLINE_NS
    for domain in ("left", "right"):
        known = channels(testbed, domain)[found.channel_id]
        assert (known["owner"], known["talker"], known["dst_port"]) == ("guest", "camera", PORT)
    changed = camera.answer(Change(found.channel_id, 0, 0, 2 * DEADLINE_NS, 0))
    assert (changed.status, changed.channel_id, changed.deadline_ns) == (Status.DONE, found.channel_id, 2 * DEADLINE_NS)
    wait_until(lambda: channels(testbed, "right")[found.channel_id]["deadline_ns"] == 2 * DEADLINE_NS)
    assert camera.answer(Close(found.channel_id)).status == Status.DONE
    wait_until(lambda: found.channel_id not in channels(testbed, "right"))
    assert camera.answer(Renew(found.channel_id, 60)).status == Status.UNKNOWN
