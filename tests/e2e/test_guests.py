"""VMs ask for channels, and hear of late packets, over real switches and a real store. Needs root."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.late_packets import LATE_NS, send_late
from support.waiting import wait_until

import topologies
from bench.askers import AskingVm
from controller import runtime
from controller.topology_file.load import load
from controller.units import NS_PER_MS
from guest.messages import Change, Close, List, Listed, Missed, Renew, State, Status, Subscribe
from rtvnic.__main__ import main
from topologies.testbed import STORE, Testbed

FILE = Path(topologies.__file__).parent / "guests.yaml"
DEADLINE_NS = 5 * NS_PER_MS
RATE_BPS = 1_000_000
PORT = 7000


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


def test_what_is_asked_twice_is_one_channel(testbed: Testbed, camera: AskingVm) -> None:
    request = opening(testbed, camera)
    for _ in range(3):
        camera.send(request, nonce=1)
    answers = [camera.heard(2) for _ in range(3)]
    assert [nonce for found in answers if found for _, nonce in [found]][:1] == [1]
    again = camera.answer(request)
    wait_until(lambda: len(own(testbed, "camera")) == 1)
    assert own(testbed, "camera")[0]["channel_label"] == again.channel_id


def own(testbed: Testbed, vm: str) -> list[Any]:
    """What the VM has opened, as the listener's controller knows it."""
    return [each for each in get(testbed, "channels", "right") if each["owner"] == "guest" and each["talker"] == vm]


def test_another_guest_can_neither_see_nor_touch_it(testbed: Testbed, camera: AskingVm, sensor: AskingVm) -> None:
    label = camera.await_installed(opening(testbed, camera)).channel_id
    for request in (Renew(label, 60), Change(label, 0, 0, 4 * DEADLINE_NS, 0), Close(label), Subscribe(label, 60)):
        assert sensor.answer(request).status == Status.UNKNOWN
    assert listed(sensor) == ()
    mine = {each.channel_id: each for each in listed(camera)}
    assert (mine[label].deadline_ns, mine[label].state) == (DEADLINE_NS, State.INSTALLED)


def test_a_list_has_the_files_channels_too_and_they_have_no_lease(testbed: Testbed, camera: AskingVm) -> None:
    label = camera.await_installed(opening(testbed, camera, lease_s=100)).channel_id
    by_lease = {each.channel_id: each.lease_s for each in listed(camera)}
    assert by_lease.pop(label) in range(90, 101)
    assert list(by_lease.values()) == [0]
    assert camera.answer(Close(next(iter(by_lease)))).status == Status.UNKNOWN


def test_a_quota_is_kept(testbed: Testbed, sensor: AskingVm) -> None:
    first = opening(testbed, sensor, rate_bps=500_000)
    assert sensor.answer(first).status == Status.DONE
    assert sensor.answer(opening(testbed, sensor, PORT + 1, rate_bps=1000)).status == Status.OVER_QUOTA
    assert sensor.answer(opening(testbed, sensor)).status == Status.OVER_QUOTA
    (book,) = [each for each in get(testbed, "guests") if each["vm"] == "sensor"]
    wait_until(lambda: [each["channels"] for each in get(testbed, "guests") if each["vm"] == "sensor"] == [1])
    assert (book["channels_max"], book["rate_max_bps"]) == (1, 1_000_000)


def test_a_refusal_says_what_would_do(testbed: Testbed, camera: AskingVm) -> None:
    request = replace(opening(testbed, camera), deadline_ns=3 * NS_PER_MS, burst_bytes=60_000)
    refused = camera.answer(request)
    assert refused.status == Status.REFUSED
    assert "the uplink of left" in refused.reason
    assert 3 * NS_PER_MS < refused.deadline_ns < 50 * NS_PER_MS
    accepted = camera.answer(replace(request, deadline_ns=refused.deadline_ns))
    assert (accepted.status, accepted.deadline_ns) == (Status.DONE, refused.deadline_ns)


def test_a_lease_ends_what_nobody_renews(testbed: Testbed, camera: AskingVm) -> None:
    kept = camera.await_installed(opening(testbed, camera)).channel_id
    left = camera.await_installed(opening(testbed, camera, PORT + 1, lease_s=1)).channel_id
    wait_until(lambda: left not in channels(testbed, "right"))
    assert kept in channels(testbed, "right")
    assert camera.answer(Renew(left, 60)).status == Status.UNKNOWN


def test_a_guest_is_called_up_about_its_late_packets(testbed: Testbed, camera: AskingVm, sensor: AskingVm) -> None:
    label = camera.await_installed(opening(testbed, camera)).channel_id
    assert sensor.answer(Subscribe(0, 60)).status == Status.DONE
    nonce = 77
    camera.send(Subscribe(label, 60), nonce)
    assert camera.heard(2) is not None
    channel = replace(testbed.network.channels["video"], label=label)
    send_late(testbed, channel)
    found = camera.heard(5)
    assert found is not None
    missed, said_nonce = found
    assert isinstance(missed, Missed)
    assert (missed.channel_id, missed.misses, said_nonce) == (label, 1, nonce)
    assert missed.worst_ns >= LATE_NS
    assert sensor.heard(0.2) is None


def test_the_misses_of_a_files_channel_are_told_where_the_file_says_so(testbed: Testbed, camera: AskingVm) -> None:
    assert camera.answer(Subscribe(0, 60)).status == Status.DONE
    video = get(testbed, "channels/video")["channel_label"]
    send_late(testbed, replace(testbed.network.channels["video"], label=video))
    found = camera.heard(5)
    assert found is not None and isinstance(found[0], Missed)
    assert found[0].channel_id == video


def test_a_vm_without_a_quota_is_not_heard(testbed: Testbed) -> None:
    def dropped() -> int:
        return next(
            each["dropped"]["unknown_destination"] for each in get(testbed, "switches") if each["name"] == "left"
        )

    before = dropped()
    with AskingVm(testbed, "archive") as archive:
        archive.send(List(0), 1)
        assert archive.heard(0.3) is None
    wait_until(lambda: dropped() > before)


def test_the_channel_of_an_application_goes_before_that_of_its_vm(testbed: Testbed, camera: AskingVm) -> None:
    label = camera.await_installed(opening(testbed, camera)).channel_id
    video = get(testbed, "channels/video")["channel_label"]
    before = {each: channels(testbed)[each]["sent"] for each in (label, video)}
    screen = next(iter(testbed.network.vms["screen"].addresses)).ip
    for port, count in ((PORT, 5), (PORT + 1, 3)):
        for _ in range(count):
            camera.socket.sendto(b"data", (str(screen), port))
    wait_until(
        lambda: [channels(testbed)[each]["sent"] - before[each] for each in (label, video)] == [5, 3],
        "5 packets on the guest's channel and 3 on the file's",
    )


def test_a_channel_outlives_its_controller_and_is_renewed_after_it(testbed: Testbed, camera: AskingVm) -> None:
    label = camera.await_installed(opening(testbed, camera)).channel_id
    os.kill(testbed.child("controller of left").pid, signal.SIGKILL)
    testbed.await_channels()
    assert camera.answer(Renew(label, 60)).status == Status.DONE
    wait_until(lambda: camera.answer(Renew(label, 60)).state == State.INSTALLED)
    assert camera.answer(Close(label)).status == Status.DONE


def test_an_operator_may_remove_it_and_an_applied_file_leaves_it(testbed: Testbed, camera: AskingVm) -> None:
    label = camera.await_installed(opening(testbed, camera)).channel_id
    assert main(["apply", str(FILE), "--store", STORE]) == 0
    name = channels(testbed, "right")[label]["name"]
    rest_socket = str(runtime.rest_socket("left"))
    with httpx.Client(transport=httpx.HTTPTransport(uds=rest_socket), base_url="http://localhost") as root:
        assert root.delete(f"/v1/channels/{name}").status_code == 204
    wait_until(lambda: label not in channels(testbed, "right"))


def run_guest(testbed: Testbed, vm: str, *words: object) -> tuple[int, Any]:
    """What `rtvnic-guest` in the VM ends with, and says as JSON, an object a line."""
    process = testbed.popen(vm, [sys.executable, "-m", "guest", *map(str, words), "--json"])
    output, _ = process.communicate(timeout=30)
    return process.returncode, [json.loads(line) for line in output.splitlines()]


def test_the_command_inside_a_vm(testbed: Testbed, camera: AskingVm) -> None:
    contract = ("--protocol", "udp", "--deadline", "5ms", "--rate", "1Mbps")
    code, (opened,) = run_guest(testbed, "camera", "open", f"10.0.0.11:{PORT}", *contract, "--once")
    assert code == 0
    assert {each["channel_label"] for each in own(testbed, "camera")} == {opened["channel_id"]}
    code, known = run_guest(testbed, "camera", "list")
    assert (code, len(known)) == (0, 2)
    assert run_guest(testbed, "camera", "close", opened["channel_id"])[0] == 0
    assert run_guest(testbed, "sensor", "open", f"10.0.0.11:{PORT}", *contract, "--rate", "50Mbps", "--once")[0] == 1
