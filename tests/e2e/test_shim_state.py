"""What a shim's next process goes on with, without a controller. Needs root."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.frames import channel_of, labelled
from support.shim_lab import LIVENESS, ShimClient, ShimLab, stop
from support.waiting import PATIENCE_S, wait_until

from controller.network.labels import relative_deadline_label

MS = 1_000_000
DEADLINE = relative_deadline_label(50 * MS)
FREE: dict[str, Any] = {"label": 100, "rate_bps": 0, "burst_bytes": 0, "downstream_ns": 0}
POLICED: dict[str, Any] = {"label": 200, "rate_bps": 8_000_000, "burst_bytes": 1546, "downstream_ns": 0}
KILLS = 3
PERIOD_S = 0.001


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[ShimLab]:
    with ShimLab(f"dp-{os.getpid()}", tmp_path) as shim_lab:
        yield shim_lab


class Talker(threading.Thread):
    """Sends a frame of the channel FREE each millisecond, until it is stopped."""

    def __init__(self, app: socket.socket) -> None:
        super().__init__()
        self._app = app
        self._is_stopping = threading.Event()

    def __enter__(self) -> Talker:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_stopping.set()
        self.join()

    def run(self) -> None:
        while not self._is_stopping.wait(PERIOD_S):
            self._app.send(labelled(DEADLINE, FREE["label"], tc=6))


def kill(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()


def set_up(lab: ShimLab, *options: str) -> subprocess.Popen[str]:
    """A shim that has two channels and is ready."""
    process = lab.start("--liveness", LIVENESS, *options)
    with ShimClient(lab.socket_path) as client:
        assert client.ask("channels", set=[FREE, POLICED])["ok"]
        assert client.ask("ready")["ok"]
    wait_until(lab.is_live)
    return process


def ask(lab: ShimLab, op: str = "statistics") -> dict[str, Any]:
    with ShimClient(lab.socket_path) as client:
        return client.ask(op)


def counts(statistics: dict[str, Any]) -> dict[str, int]:
    """Every number that only grows, by its path."""
    channel, sent = statistics["channels"]["100"], statistics["classes"]["6"]
    return {
        **{f"egress {name}": value for name, value in statistics["egress"].items()},
        **{f"channel {name}": channel[name] for name in ("sent_packets", "sent_bytes")},
        **{f"class {name}": sent[name] for name in ("packets", "bytes")},
        "channel delays": channel["queueing_delay"]["count"],
        "longest": channel["queueing_delay"]["max"],
    }


def test_counters_go_on_and_the_tap_comes_up_by_itself(lab: ShimLab) -> None:
    process = set_up(lab)
    with lab.tap("app") as app, Talker(app):
        for _ in range(KILLS):
            wait_until(lambda: ask(lab)["channels"]["100"]["sent_packets"] > 0)
            before = counts(ask(lab))
            kill(process)
            wait_until(lambda: not lab.is_live())
            process = lab.start("--liveness", LIVENESS)
            wait_until(lab.is_live)
            after = counts(ask(lab))
            assert {name: (value, after[name]) for name, value in before.items() if after[name] < value} == {}
            wait_until(lambda sent=after["channel sent_packets"]: ask(lab)["channels"]["100"]["sent_packets"] > sent)
    assert stop(process)[2] == "", "nothing was discarded"


def test_contracts_are_still_policed(lab: ShimLab) -> None:
    kill(set_up(lab))
    lab.start("--liveness", LIVENESS, "--rate", "100kbps")
    with lab.tap("app") as app, lab.tap("far") as far:
        app.send(labelled(DEADLINE, 100, length=1514))
        assert channel_of(far.recv(2048)) == 100
        for _ in range(3):  # while that has the wire, so that the contract does not start afresh between them
            app.send(labelled(DEADLINE, 200, length=1400))
        wait_until(lambda: ask(lab)["channels"]["200"]["postponed"] == 2)
        assert ask(lab)["channels"]["100"]["postponed"] == 0


def test_what_was_configured_goes_on_unless_it_is_started_otherwise(lab: ShimLab) -> None:
    process = set_up(lab, "--rate", "100Mbps")
    with ShimClient(lab.socket_path) as client:
        client.ask("configure", rate_bps=5_000_000, be_slack_ns=7 * MS, allowance_ns=MS)
    kill(process)
    process = lab.start("--rate", "100Mbps")
    in_force = {"id": "configure", "ok": True, "rate_bps": 5_000_000, "be_slack_ns": 7 * MS, "allowance_ns": MS}
    assert ask(lab, "configure") == in_force
    kill(process)
    lab.start("--rate", "200Mbps")
    assert ask(lab, "configure") == in_force | {"rate_bps": 200_000_000, "be_slack_ns": 2 * MS}
    assert ask(lab, "labels")["labels"] == [100, 200]


def test_a_channel_that_was_removed_stays_away(lab: ShimLab) -> None:
    process = set_up(lab)
    with ShimClient(lab.socket_path) as client:
        client.ask("channels", remove=[200])
    kill(process)
    lab.start()
    assert ask(lab, "labels")["labels"] == [100]


def test_one_that_was_not_ready_still_waits(lab: ShimLab) -> None:
    process = lab.start("--liveness", LIVENESS)
    with ShimClient(lab.socket_path) as client:
        client.ask("channels", set=[FREE])
    kill(process)
    lab.start("--liveness", LIVENESS)
    assert ask(lab, "labels")["labels"] == [100]
    time.sleep(0.2)
    assert lab.times_live() == 0


def test_it_goes_on_after_a_signal_too(lab: ShimLab) -> None:
    assert stop(set_up(lab), signal.SIGTERM)[0] == 0
    lab.start("--liveness", LIVENESS)
    wait_until(lab.is_live)
    assert ask(lab, "labels")["labels"] == [100, 200]


def test_what_waited_is_counted_as_lost(lab: ShimLab) -> None:
    process = set_up(lab, "--rate", "1kbps")
    with lab.tap("app") as app, lab.tap("far") as far:
        app.send(labelled(DEADLINE, 100, length=1514))  # 12 s of the wire
        far.recv(2048)
        for _ in range(3):
            app.send(labelled(relative_deadline_label(5000 * MS), 100))
        time.sleep(0.2)
    kill(process)
    lab.start("--rate", "1kbps")
    assert ask(lab)["egress"]["lost_at_end"] == 3


def _shorten(file: Path) -> None:
    os.truncate(file, 1000)


def _overwrite(file: Path) -> None:
    with file.open("r+b") as state:
        state.write(os.urandom(4096))


@pytest.mark.parametrize(
    ("damage", "uplink", "why"),
    [
        (_shorten, "wire", "of another version, or damaged"),
        (_overwrite, "wire", "of another version, or damaged"),
        (lambda _: None, "far", "of other interfaces, or older than this boot"),
    ],
)
def test_what_does_not_fit_is_discarded(lab: ShimLab, damage: Callable[[Path], None], uplink: str, why: str) -> None:
    kill(set_up(lab))
    damage(lab.state)
    process = lab.start("--liveness", LIVENESS, uplink=uplink)
    assert ask(lab, "labels")["labels"] == []
    time.sleep(0.2)
    assert not lab.is_live()
    _, _, errors = stop(process)
    assert errors == f"the state in {lab.state} is {why}: counters and channels begin anew\n"


def test_a_second_shim_leaves_the_state_of_the_first_alone(lab: ShimLab) -> None:
    set_up(lab)
    process = lab.spawn("--socket", str(lab.socket_path))
    assert "another shim has its state in" in process.communicate(timeout=PATIENCE_S)[1]
    assert ask(lab, "labels")["labels"] == [100, 200]


def test_memory_that_is_full_refuses_a_channel_and_no_more(tmp_path: Path) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", tmp_path], check=True)
    try:
        with ShimLab(f"dp-{os.getpid()}", tmp_path) as lab:
            process = set_up(lab)
            assert lab.state.parent == tmp_path
            with ShimClient(lab.socket_path) as client:
                answer = client.ask("channels", set=[FREE | {"label": label} for label in range(300, 400)])
                assert "does not fit: No space left on device" in answer["error"]
                held = client.ask("labels")["labels"]
            assert {100, 200, 300} < set(held) < {100, 200, *range(300, 400)}
            kill(process)
            lab.start("--liveness", LIVENESS)
            assert ask(lab, "labels")["labels"] == held
    finally:
        subprocess.run(["umount", "-l", tmp_path], check=True)
