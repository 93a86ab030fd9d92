"""Channels added, changed and removed while a network runs: over REST and from the shell. Needs root."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.exchange import listen, received, start_sender
from support.frames import channel_of
from support.http_server import unused_port
from support.waiting import wait_until
from support.wire import capture

import topologies
from controller.rest.token_file import write_tokens
from controller.runtime import rest_socket
from controller.topology_file.load import load
from topologies.testbed import Testbed

FILE = Path(topologies.__file__).parent / "two_hypervisors.yaml"
ENTRY = {"name": "robot", "from": "camera", "to": "screen", "deadline": "7ms", "min_rate": "500kbps", "protocol": "udp",
         "dst_port": 7300}  # fmt: skip
PORT = 7300
COUNT = 20
STREAM_COUNT = 1000
PAUSE_S = 0.1
"""So that writes stay within the rate that is allowed."""


@pytest.fixture(scope="module")
def testbed() -> Iterator[Testbed]:
    with Testbed(load(FILE)) as testbed:
        testbed.await_channels()
        yield testbed


def client_of(domain: str) -> httpx.Client:
    return httpx.Client(transport=httpx.HTTPTransport(uds=str(rest_socket(domain))), base_url="http://localhost")


@pytest.fixture
def client(testbed: Testbed) -> Iterator[httpx.Client]:
    """Of the talker's controller; the channel `robot` is not there, before and after."""
    with client_of("left") as client:
        yield client
        client.delete("/v1/channels/robot")


def rtvnic(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "rtvnic", *words], capture_output=True, text=True)


def state_of(client: httpx.Client, name: str = "robot") -> Any:
    answer = client.get(f"/v1/channels/{name}")
    return answer.json()["state"] if answer.is_success else answer.status_code


def posted_again(client: httpx.Client) -> int:
    time.sleep(PAUSE_S)
    return client.post("/v1/channels", json=ENTRY).status_code


def label_on_the_wire(testbed: Testbed, directory: Path) -> int:
    """Of packets that are sent from camera to port PORT of screen."""
    channel = testbed.network.channels["video"]
    with capture("right-up", "mpls", 1, directory) as wire:
        start_sender(testbed, channel, PORT, "--count", COUNT, "--rate", "500kbps").communicate(timeout=30)
    return channel_of(wire.frames[0])


def test_a_channel_is_added_changed_and_removed(testbed: Testbed, client: httpx.Client, tmp_path: Path) -> None:
    """Its packets bear its label from when it is installed, and those of the less specific channel when it is gone."""
    video = testbed.network.channels["video"].label
    assert label_on_the_wire(testbed, tmp_path) == video
    answer = client.post("/v1/channels", json=ENTRY)
    assert answer.status_code == 202, answer.text
    wait_until(lambda: state_of(client) == "installed")
    label = answer.json()["channel_label"]
    assert label != video
    assert label_on_the_wire(testbed, tmp_path) == label
    wait_until(lambda: posted_again(client) == 200, "both ends write back that it is")

    changed = client.patch("/v1/channels/robot", json={"deadline": "3ms"}, headers={"If-Match": answer.headers["etag"]})
    assert changed.status_code == 202, changed.text
    wait_until(lambda: client.get("/v1/channels/robot").headers.get("etag") == changed.headers["etag"])
    wait_until(lambda: state_of(client) == "installed")
    found = client.get("/v1/channels/robot").json()
    assert (found["owner"], found["deadline_ns"], found["channel_label"]) == ("rest", 3_000_000, label)

    assert client.delete("/v1/channels/robot", headers={"If-Match": answer.headers["etag"]}).status_code == 412
    assert client.delete("/v1/channels/robot", headers={"If-Match": changed.headers["etag"]}).status_code == 204
    wait_until(lambda: state_of(client) == 404)
    wait_until(lambda: label_on_the_wire(testbed, tmp_path) == video)


def test_any_controller_takes_changes_and_says_where_to_ask(testbed: Testbed, client: httpx.Client) -> None:
    with client_of("right") as other:
        answer = other.post("/v1/channels", json=ENTRY)
    assert answer.status_code == 202
    assert answer.headers["location"] == f"{testbed.network.hypervisors['left'].controller.rest_url}/v1/channels/robot"
    wait_until(lambda: httpx.get(answer.headers["location"], trust_env=False).json().get("state") == "installed")


def test_other_channels_lose_nothing_meanwhile(testbed: Testbed, client: httpx.Client) -> None:
    control = testbed.network.channels["control"]
    receiver = listen(testbed, control.listener, control.dst_port or 0, "--count", STREAM_COUNT, "--idle", 2)
    options = ("--count", STREAM_COUNT, "--payload", 100, "--rate", "200kbps")
    sender = start_sender(testbed, control, control.dst_port or 0, *options)
    changes = 0
    while sender.poll() is None:
        assert client.post("/v1/channels", json=ENTRY).status_code == 202
        assert client.patch("/v1/channels/robot", json={"deadline": "3ms"}).status_code == 202
        assert client.delete("/v1/channels/robot").status_code == 204
        changes += 3
        time.sleep(PAUSE_S)
    sender.communicate(timeout=30)
    assert changes > 10
    found = received(receiver)
    assert (found["received"], found["reordered"]) == (STREAM_COUNT, 0)


def test_what_is_refused_changes_nothing(testbed: Testbed, client: httpx.Client) -> None:
    before = {name: channel["version"] for name, channel in testbed.channels().items()}
    refused = client.post("/v1/channels", json={**ENTRY, "min_rate": "99Mbps"})
    assert (refused.status_code, bool(refused.json()["reasons"])) == (409, True)
    assert client.post("/v1/channels", json={**ENTRY, "to": "nobody"}).status_code == 422
    assert client.patch("/v1/channels/video", json={"deadline": "9ms"}).status_code == 409
    assert client.delete("/v1/channels/video").status_code == 409
    assert {name: channel["version"] for name, channel in testbed.channels().items()} == before


def test_over_tcp_without_a_token_nothing_is_written(testbed: Testbed) -> None:
    url = testbed.network.hypervisors["left"].controller.rest_url
    assert httpx.post(f"{url}/v1/channels", json=ENTRY, trust_env=False).status_code == 401
    assert rest_socket("left").stat().st_mode & 0o777 == 0o600


def test_from_the_shell(testbed: Testbed, client: httpx.Client) -> None:
    words = ["--from", "camera", "--to", "screen", "--deadline", "7ms", "--min-rate", "500kbps", "--protocol", "udp"]
    added = rtvnic("channel", "add", "robot", *words, "--dst-port", str(PORT), "--json")
    assert added.returncode == 0, added.stderr
    assert json.loads(added.stdout)["state"] == "installed"
    assert rtvnic("channel", "change", "robot", "--deadline", "6ms").returncode == 0
    assert client.get("/v1/channels/robot").json()["deadline_ns"] == 6_000_000
    refused = rtvnic("channel", "change", "robot", "--min-rate", "99Mbps")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "the uplink of left" in refused.stderr
    assert rtvnic("channel", "remove", "robot").returncode == 0
    wait_until(lambda: state_of(client) == 404)


# A controller of its own, with tokens

ALONE = """
version: 1
hypervisors:
  left: {{uplink: 100Mbps, controller: {{openflow_port: {openflow}, rest_port: {rest}, peering_port: {peering}}}}}
vms: {{a: {{hypervisor: left, ip: 10.0.0.1}}, b: {{hypervisor: left, ip: 10.0.0.2}}}}
"""
NEAR = {"name": "near", "from": "a", "to": "b", "deadline": "5ms", "min_rate": "1Mbps"}


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    """Of a controller that knows the tokens in `tmp_path/tokens`."""
    rest = unused_port()
    (tmp_path / "net.yaml").write_text(ALONE.format(openflow=unused_port(), rest=rest, peering=unused_port()))
    write_tokens(tmp_path / "tokens", [])
    words = ["controller", str(tmp_path / "net.yaml"), "--domain", "left", "--tokens", str(tmp_path / "tokens")]
    directories = {"RTVNIC_RUN_DIR": str(tmp_path), "RTVNIC_STATE_DIR": str(tmp_path)}
    process = subprocess.Popen(
        [sys.executable, "-m", "rtvnic", *words], env=os.environ | directories, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield f"http://127.0.0.1:{rest}"
    finally:
        process.terminate()
        process.communicate(timeout=30)


def secret_of(directory: Path, name: str, role: str) -> str:
    return rtvnic("token", "add", str(directory / "tokens"), name, "--role", role).stdout.strip()


def test_tokens_are_taken_note_of_while_the_controller_runs(url: str, tmp_path: Path) -> None:
    def post(secret: str) -> int:
        headers = {"Authorization": f"Bearer {secret}"}
        return httpx.post(f"{url}/v1/channels", json=NEAR, headers=headers, trust_env=False, timeout=15).status_code

    assert post("unknown") == 401
    reader, writer = secret_of(tmp_path, "wall", "read"), secret_of(tmp_path, "planner", "write")
    assert (post(reader), post(writer)) == (403, 202)
    wait_until(lambda: httpx.get(f"{url}/v1/channels/near", trust_env=False).json().get("owner") == "rest")
    rtvnic("token", "remove", str(tmp_path / "tokens"), "planner")
    assert post(writer) == 401
