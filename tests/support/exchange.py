"""Programs in the VMs and hosts of a running test bed, and measured traffic between them."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from support.waiting import wait_until

from controller.model import Channel
from topologies.testbed import Testbed

PATIENCE_S = 30
TRAFFIC = (sys.executable, "-m", "bench.traffic")


def run_in(testbed: Testbed, node: str, *words: object) -> str:
    """The output of a command that does what it should."""
    process = testbed.popen(node, list(map(str, words)))
    output, errors = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, errors
    return output


def listen(testbed: Testbed, node: str, port: int, *options: object) -> subprocess.Popen[str]:
    """A receiver that is ready."""
    words = [*TRAFFIC, "receive", "--port", str(port), *map(str, options)]
    receiver = testbed.popen(node, words)
    wait_until(lambda: f":{port}" in run_in(testbed, node, "ss", "-Hlun"))
    return receiver


def start_sender(testbed: Testbed, channel: Channel, port: int, *options: object) -> subprocess.Popen[str]:
    """Sends to the channel's listener."""
    address = f"[{channel.destination}]" if channel.destination.version == 6 else str(channel.destination)
    words = [*TRAFFIC, "send", "--to", f"{address}:{port}", *map(str, options)]
    return testbed.popen(channel.talker, words)


def received(receiver: subprocess.Popen[str]) -> dict[str, Any]:
    """What a receiver tells at its end."""
    output, errors = receiver.communicate(timeout=PATIENCE_S)
    assert receiver.returncode == 0, errors
    result: dict[str, Any] = json.loads(output)
    return result
