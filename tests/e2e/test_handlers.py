"""Late packets on a real network start what their channel asks for, at the talker's controller. Needs root."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from support.late_packets import LATE_NS, send_late
from support.miss_handlers import SECRET, Receiver, answer_with, secret_file
from support.waiting import wait_until

from controller.handlers.signing import key_of, signed
from controller.topology_file.load import load
from topologies.testbed import Testbed

FILE = """
version: 1
hypervisors: {{left: {{uplink: 100Mbps}}, right: {{uplink: 100Mbps}}}}
vms:
  camera: {{hypervisor: left, ip: 10.0.0.1}}
  screen: {{hypervisor: right, ip: 10.0.0.2}}
channels:
  logged: {{from: camera, to: screen, deadline: 5ms, min_rate: 1Mbps, protocol: udp, dst_port: 1, on_miss: log}}
  paged: {{from: camera, to: screen, deadline: 5ms, min_rate: 1Mbps, protocol: udp, dst_port: 2, on_miss: [pager, hog]}}
  posted: {{from: camera, to: screen, deadline: 5ms, min_rate: 1Mbps, protocol: udp, dst_port: 3, on_miss: board}}
  quiet: {{from: camera, to: screen, deadline: 5ms, min_rate: 1Mbps, protocol: udp, dst_port: 4, on_miss: [guest]}}
handlers:
  pager: {{exec: [/bin/sh, -c, 'echo $RTVNIC_CHANNEL $RTVNIC_MISSES $RTVNIC_WORST_NS by $(id -un)']}}
  hog: {{exec: [/bin/sh, -c, 'while :; do :; done'], timeout: 100ms}}
  board: {{webhook: "{url}", secret: "{secret}"}}
"""


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    with Receiver(answer_with(503)) as receiver:
        yield receiver


@pytest.fixture(scope="module")
def testbed(receiver: Receiver, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Testbed]:
    directory = tmp_path_factory.mktemp("handlers")
    file = directory / "net.yaml"
    file.write_text(FILE.format(url=receiver.url, secret=secret_file(directory)))
    with Testbed(load(file)) as testbed:
        testbed.await_channels()
        yield testbed


def handler(testbed: Testbed, name: str, domain: str = "left") -> dict[str, Any]:
    url = testbed.network.hypervisors[domain].controller.rest_url
    answer = httpx.get(f"{url}/v1/handlers", timeout=10, trust_env=False)
    found: dict[str, Any] = next(each for each in answer.json() if each["name"] == name)
    return found


def entries(testbed: Testbed, text: str) -> list[str]:
    """Of the log of the talker's controller."""
    return [line for line in testbed.log_of("left").splitlines() if text in line]


def test_log(testbed: Testbed) -> None:
    send_late(testbed, testbed.network.channels["logged"])
    wait_until(lambda: handler(testbed, "log")["started"])
    wait_until(lambda: entries(testbed, "WARNING"))
    (entry,) = entries(testbed, "logged:")
    assert "logged: 1 of 1 packets were late, by up to 2" in entry


def test_exec(testbed: Testbed) -> None:
    send_late(testbed, testbed.network.channels["paged"])
    wait_until(lambda: entries(testbed, "the handler pager said:"))
    channel, misses, worst_ns, *by = entries(testbed, "the handler pager said:")[0].partition("said: ")[2].split()
    assert (channel, misses, by) == ("paged", "1", ["by", "nobody"])
    assert int(worst_ns) >= LATE_NS
    assert handler(testbed, "pager")["failed"] == 0


def test_one_that_does_not_end_is_killed_and_the_controller_is_well(testbed: Testbed) -> None:
    wait_until(lambda: handler(testbed, "hog")["timed_out"])
    assert entries(testbed, "paged: the handler hog had not ended after 100ms and was killed")
    assert testbed.missing() == []


def test_webhook(testbed: Testbed, receiver: Receiver) -> None:
    """The first answer is 503: the delivery comes again. Later misses come in sum, and their total is right."""
    send_late(testbed, testbed.network.channels["posted"])
    wait_until(lambda: len(receiver.deliveries) == 2)
    send_late(testbed, testbed.network.channels["posted"], 10)
    send_late(testbed, testbed.network.channels["posted"], 10)
    wait_until(lambda: any(json.loads(each.body)["total_misses"] == 21 for each in receiver.deliveries))
    first, again, *others = receiver.deliveries
    assert first.body == again.body
    delivered = {delivery.headers["webhook-id"]: json.loads(delivery.body) for delivery in (first, *others)}
    assert sum(each["misses"] for each in delivered.values()) == 21
    assert {each["channel"] for each in delivered.values()} == {"posted"}
    for delivery in receiver.deliveries:
        id_, at = delivery.headers["webhook-id"], int(delivery.headers["webhook-timestamp"])
        assert signed(key_of(SECRET), id_, at, delivery.body).items() <= delivery.headers.items()
    assert handler(testbed, "board")["retried"] == 1


def test_only_the_talkers_controller_starts_any(testbed: Testbed) -> None:
    assert [handler(testbed, name, "right")["started"] for name in ("log", "pager", "hog", "board")] == [0] * 4
