"""What a controller does before it runs, and how its parts are joined."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from support.examples import TOPOLOGIES
from support.fake_datapath import FakeDatapath
from support.fake_shim import FakeShim
from support.http_server import taken_port, unused_port
from support.miss_handlers import reported
from support.networks import two_hypervisors
from support.notify_socket import NotifySocket
from support.openflow_switch import OpenFlowSwitch
from support.waiting import PATIENCE_S, wait_until

from controller import runtime
from controller.domain.events import AskShim, ChannelsTold, MissesReported
from controller.launcher import Controller, StoreAddress, _warn_of_separate_stores
from controller.model import Channel, Endpoint, Scheduler
from controller.topology_file.load import load, parse

# isort: split
from os_ken.ofproto import ofproto_v1_3_parser as parser

ROOT = TOPOLOGIES.parent


@pytest.fixture
def run_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Away from the sockets of any network that runs on this machine."""
    monkeypatch.setattr(runtime, "RUN_DIR", tmp_path)
    return tmp_path


class FakeQueues:
    """Follows the channels in name only."""

    def __init__(self) -> None:
        self.channels: Mapping[str, Channel] | None = None

    def start(self) -> None:
        self.is_started = True

    def set_channels(self, channels: Mapping[str, Channel]) -> None:
        assert self.is_started
        self.channels = channels


def started(scheduler: Scheduler = Scheduler.EDF) -> Controller:
    """The controller of `left`, whose peer `right` is nowhere."""
    network = two_hypervisors(scheduler)
    nowhere = replace(network.hypervisors["right"], controller=Endpoint("127.0.0.1", 6654, unused_port()))
    network = replace(network, hypervisors={**network.hypervisors, "right": nowhere})
    controller = Controller(network, "left", StoreAddress("unix:/nowhere/store.sock"), lambda _: FakeQueues())
    controller.start()
    controller.loop.post(ChannelsTold(network.channels))
    return controller


def test_a_controller_passes_orders_to_its_switches(run_dir: Path) -> None:
    controller = started()
    datapath = FakeDatapath(1)
    controller.switches.connect(datapath)
    assert isinstance(datapath.next(), parser.OFPGroupDescStatsRequest)
    wait_until(lambda: controller.loop.ask(lambda domain: domain.bridges["left"].is_connected))
    controller.switches.disconnect(datapath)
    wait_until(lambda: not controller.loop.ask(lambda domain: domain.bridges["left"].is_connected))


def test_a_controller_tells_the_log_of_its_shim(run_dir: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    controller = started()
    with FakeShim(run_dir / "left.shim.sock"):
        wait_until(lambda: "the shim of left works" in caplog.text)
    wait_until(lambda: "the shim of left is not running" in caplog.text or "closed the connection" in caplog.text)
    assert {record.levelname for record in caplog.records if "shim of left works" in record.message} == {"INFO"}
    assert controller.loop.ask(lambda domain: domain.shim.since_ns) > 0


def test_a_controller_hears_of_its_shim_and_its_peers(run_dir: Path) -> None:
    controller = started()
    wait_until(lambda: controller.loop.ask(lambda domain: domain.shim.why) == "is not running")
    wait_until(lambda: controller.loop.ask(lambda domain: domain.peers["right"].why) == "is not running")
    with FakeShim(run_dir / "left.shim.sock") as shim:
        wait_until(lambda: controller.loop.ask(lambda domain: domain.shim.is_ready))
        assert shim.table.labels == {17, 18}
        controller._perform(AskShim())
        wait_until(lambda: controller.loop.ask(lambda domain: domain.shim.statistics))


def test_a_controller_starts_what_a_miss_asks_for(run_dir: Path, caplog: pytest.LogCaptureFixture) -> None:
    controller = started()
    controller.loop.post(MissesReported("right", (reported("video"),)))
    wait_until(lambda: "video: 1 of 2 packets were late, by up to 3ms" in caplog.text)
    assert [(each.name, each.started) for each in controller.handlers.read()] == [("log", 1)]


def test_without_a_shim_none_is_asked(run_dir: Path) -> None:
    with FakeShim(run_dir / "left.shim.sock") as shim:
        controller = started(Scheduler.FIFO)
        assert controller.loop.ask(lambda domain: domain.shim.is_ready) is False
        assert shim.table.labels == set()


# The whole process

FILE = """
version: 1
hypervisors:
  left:
    uplink: 100Mbps
    controller: {{openflow_port: {openflow}, rest_port: {rest}, peering_port: {peering}}}
vms: {{a: {{hypervisor: left, ip: 10.0.0.1}}, b: {{hypervisor: left, ip: 10.0.0.2}}}}
channels: {{near: {{from: a, to: b, deadline: 5ms, min_rate: 1Mbps}}}}
"""


@contextmanager
def run_controller(
    file: Path, *words: str, environment: Mapping[str, str] = os.environ
) -> Iterator[subprocess.Popen[str]]:
    """A controller process, which does not outlive the test."""
    process = subprocess.Popen(
        [sys.executable, "-m", "rtvnic", "controller", str(file), "--domain", "left", *words],
        cwd=ROOT,
        env={**environment, "RTVNIC_RUN_DIR": str(file.parent), "RTVNIC_STATE_DIR": str(file.parent)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()
        process.wait(PATIENCE_S)


def wait_for_ready(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"


def written(directory: Path, openflow: int, rest: int) -> Path:
    file = directory / "net.yaml"
    file.write_text(FILE.format(openflow=openflow, rest=rest, peering=unused_port()))
    return file


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_says_that_it_is_ready_and_ends_on_a_signal(tmp_path: Path, number: signal.Signals) -> None:
    with run_controller(written(tmp_path, unused_port(), unused_port())) as process:
        wait_for_ready(process)
        process.send_signal(number)
        out, err = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, out) == (0, "")
    assert "Traceback" not in err


def test_it_ends_when_nobody_waits_for_it_any_more(tmp_path: Path) -> None:
    with run_controller(written(tmp_path, unused_port(), unused_port())) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.wait(PATIENCE_S) == 0


def test_it_brings_all_that_it_has_into_service(tmp_path: Path) -> None:
    """One process, with a switch, a shim and a client that are not its own."""
    openflow, rest = unused_port(), unused_port()
    file = written(tmp_path, openflow, rest)
    datapath_id = load(file).hypervisors["left"].datapath_id
    with (
        run_controller(file) as process,
        httpx.Client(base_url=f"http://127.0.0.1:{rest}", trust_env=False) as client,
        FakeShim(tmp_path / "left.shim.sock"),
    ):
        wait_for_ready(process)
        assert client.get("/v1/health").status_code == 503
        with OpenFlowSwitch(openflow, datapath_id):
            wait_until(lambda: client.get("/v1/health").status_code == 200)
            wait_until(lambda: client.get("/v1/channels/near").json()["state"] == "installed")
        wait_until(lambda: client.get("/v1/channels/near").json()["why"] == "the switch left is not connected")
        process.terminate()
        _, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0
    assert "Traceback" not in err


def test_the_scheduler_of_the_command_line_is_that_of_every_uplink(tmp_path: Path) -> None:
    rest = unused_port()
    with (
        run_controller(written(tmp_path, unused_port(), rest), "--scheduler", "fifo") as process,
        httpx.Client(base_url=f"http://127.0.0.1:{rest}", trust_env=False) as client,
    ):
        wait_for_ready(process)
        assert [each["scheduler"] for each in client.get("/v1/topology").json()["hypervisors"]] == ["fifo"]
        wait_until(lambda: client.get("/v1/channels").json() != [])
        assert client.get("/v1/channels/near").json()["state"] == "off"


@pytest.mark.parametrize("which", ["OpenFlow", "REST"])
def test_a_taken_port_is_one_line_and_exit_2(tmp_path: Path, which: str) -> None:
    with taken_port() as taken:
        ports = (taken, unused_port()) if which == "OpenFlow" else (unused_port(), taken)
        with run_controller(written(tmp_path, *ports)) as process:
            out, err = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, out) == (2, "")
    assert err.startswith(f"cannot listen for {which} at 127.0.0.1:{taken}: Address already in use; end what listens")
    assert err.count("\n") == 1


def test_a_domain_that_the_file_does_not_have(tmp_path: Path) -> None:
    with run_controller(written(tmp_path, 6653, 8080), "--domain", "middle") as process:
        _, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 2
    assert err.endswith("net.yaml has no hypervisor 'middle'; give one of: left\n")


DISTANT = """
version: 1
hypervisors:
  left: {uplink: 100Mbps, controller: {address: 192.0.2.1}}
  right: {uplink: 100Mbps, controller: {address: ADDRESS}}
vms: {a: {hypervisor: left, ip: 10.0.0.1}, b: {hypervisor: right, ip: 10.0.0.2}}
tls: pki
"""


@pytest.mark.parametrize(("address", "is_beyond"), [("192.0.2.1", False), ("192.0.2.2", True)])
def test_a_store_of_one_machine_among_several_is_warned_of(
    address: str, is_beyond: bool, caplog: pytest.LogCaptureFixture
) -> None:
    _warn_of_separate_stores(parse(DISTANT.replace("ADDRESS", address).encode(), Path("net.yaml")), "left")
    assert ("the controllers of other machines (right) know nothing of it" in caplog.text) is is_beyond
    assert ("--store" in caplog.text) is is_beyond


def test_systemd_hears_how_it_stands(tmp_path: Path) -> None:
    with (
        NotifySocket(str(tmp_path / "notify")) as heard,
        run_controller(
            written(tmp_path, unused_port(), unused_port()), environment=heard.environment(watchdog_s=1.0)
        ) as process,
    ):
        assert heard.next_besides("WATCHDOG=1") == "READY=1"
        assert heard.next() == "WATCHDOG=1"
        process.send_signal(signal.SIGHUP)
        assert heard.next_besides("WATCHDOG=1").startswith("RELOADING=1\nMONOTONIC_USEC=")
        assert heard.next_besides("WATCHDOG=1") == "READY=1"
        process.terminate()
        assert heard.next_besides("WATCHDOG=1") == "STOPPING=1"
        assert process.wait(PATIENCE_S) == 0


def names(client: httpx.Client) -> list[str]:
    return [channel["name"] for channel in client.get("/v1/channels").json()]


def test_a_hangup_takes_over_the_channels_of_the_file(tmp_path: Path) -> None:
    rest = unused_port()
    file = written(tmp_path, unused_port(), rest)
    with (
        run_controller(file) as process,
        httpx.Client(base_url=f"http://127.0.0.1:{rest}", trust_env=False) as client,
    ):
        wait_for_ready(process)
        wait_until(lambda: names(client) == ["near"])
        file.write_text(file.read_text().replace("near:", "close:"))
        process.send_signal(signal.SIGHUP)
        wait_until(lambda: names(client) == ["close"])


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("deadline: 5ms", "deadline: 5", "'5' has no unit"),
        ("10.0.0.2", "10.0.0.3", "the store belongs to another topology"),
        ("left", "right", "has no hypervisor 'left'"),
        (
            "vms:",
            "handlers: {pager: {exec: [/bin/true]}}\nvms:",
            "differs in the handlers of misses; restart",
        ),
        (
            "ip: 10.0.0.1}",
            "ip: 10.0.0.1, quota: {channels: 2, rate: 1Mbps}}",
            "differs in quotas of VMs; restart",
        ),
        ("version: 1", "version: 1\ntls: pki", "differs in tls; restart"),
    ],
)
def test_a_hangup_changes_nothing_where_the_file_is_no_good(tmp_path: Path, old: str, new: str, complaint: str) -> None:
    rest = unused_port()
    file = written(tmp_path, unused_port(), rest)
    with (
        NotifySocket(str(tmp_path / "notify")) as heard,
        run_controller(file, "--log-format", "json", environment=heard.environment()) as process,
        httpx.Client(base_url=f"http://127.0.0.1:{rest}", trust_env=False) as client,
    ):
        assert heard.next() == "READY=1"
        wait_until(lambda: names(client) == ["near"])
        file.write_text(file.read_text().replace(old, new))
        process.send_signal(signal.SIGHUP)
        assert heard.next().startswith("RELOADING=1") and heard.next() == "READY=1"
        assert names(client) == ["near"]
        process.terminate()
        entries = [json.loads(line) for line in process.communicate(timeout=PATIENCE_S)[1].splitlines()]
    refusals = [entry for entry in entries if entry["message"].startswith("all stays as it is: ")]
    assert [(entry["level"], entry["domain"]) for entry in refusals] == [("ERROR", "left")]
    assert complaint in refusals[0]["message"]
