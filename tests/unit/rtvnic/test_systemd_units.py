"""The systemd units that are shipped: systemd understands them, and what they start exists."""

from __future__ import annotations

import argparse
import configparser
import importlib
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from controller.network.wiring import PortRole, ports_of, shim_interface
from controller.runtime import RUN_DIR, shim_socket
from controller.topology_file.load import parse
from rtvnic.__main__ import VERBS

PACKAGING = Path(__file__).parents[3] / "packaging"
UNITS = sorted((PACKAGING / "systemd").glob("*.service"))
PROGRAM = "/opt/rtvnic/bin/rtvnic"
FILE = b"""
version: 1
hypervisors: {left: {uplink: 100Mbps}}
vms: {a: {hypervisor: left, ip: 10.0.0.1}}
"""


def parsed(unit: Path) -> configparser.ConfigParser:
    found = configparser.ConfigParser(strict=False, interpolation=None)
    found.optionxform = str  # type: ignore[assignment, method-assign]
    found.read(unit)
    return found


def words_of(unit: Path) -> list[str]:
    return parsed(unit)["Service"]["ExecStart"].replace("%i", "left").split()


def test_there_are_units() -> None:
    assert [unit.name for unit in UNITS] == [
        "rtvnic-bridge@.service",
        "rtvnic-controller@.service",
        "rtvnic-shim@.service",
        "rtvnic-store.service",
    ]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_understands_them(tmp_path: Path) -> None:
    """With another program in the place of ours, which is not there, and of Open vSwitch's unit."""
    for unit in UNITS:
        name = unit.name.replace("@.", "@left.")
        (tmp_path / name).write_text(unit.read_text().replace(PROGRAM, "/bin/true"))
    (tmp_path / "openvswitch-switch.service").write_text("[Service]\nExecStart=/bin/true\n")
    words = ["systemd-analyze", "verify", "--man=no", *sorted(map(str, tmp_path.glob("rtvnic-*")))]
    done = subprocess.run(
        words, capture_output=True, text=True, env={"SYSTEMD_UNIT_PATH": f"{tmp_path}:"}, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


LIMITS = {  # memory, tasks, descriptors
    "bridge@": ("1G", "64", "1024"),
    "controller@": ("2G", "1024", "16384"),
    "shim@": ("1G", "64", "1024"),
    "store": ("1G", "64", "16384"),
}
CAPABILITIES = {
    "bridge@": {"CAP_NET_ADMIN", "CAP_NET_RAW", "CAP_SYS_MODULE"},
    "controller@": {"CAP_NET_ADMIN", "CAP_NET_RAW", "CAP_SETUID", "CAP_SETGID", "CAP_KILL"},
    "shim@": {"CAP_NET_RAW", "CAP_NET_ADMIN", "CAP_SYS_NICE", "CAP_IPC_LOCK"},
    "store": set(),
}
HARDENING = {
    "NoNewPrivileges": "yes",
    "ProtectSystem": "strict",
    "ProtectHome": "yes",
    "ProtectControlGroups": "yes",
    "ProtectKernelLogs": "yes",
    "ProtectHostname": "yes",
    "PrivateTmp": "yes",
    "RestrictNamespaces": "yes",
    "RestrictSUIDSGID": "yes",
    "LockPersonality": "yes",
    "SystemCallArchitectures": "native",
    "SystemCallErrorNumber": "EPERM",
    "UMask": "0077",
    "RuntimeDirectoryMode": "0700",
}
FAMILIES = {
    "bridge@": {"AF_UNIX", "AF_NETLINK", "AF_INET", "AF_INET6"},
    "controller@": {"AF_UNIX", "AF_NETLINK", "AF_PACKET", "AF_INET", "AF_INET6"},
    "shim@": {"AF_UNIX", "AF_NETLINK", "AF_PACKET"},
    "store": {"AF_UNIX", "AF_INET", "AF_INET6"},
}
CALLS = {
    "bridge@": {"@system-service", "@module"},
    "controller@": {"@system-service", "adjtimex"},
    "shim@": {"@system-service"},
    "store": {"@system-service"},
}
PROTECTED = {  # what a task does not need and so has not, beyond HARDENING
    "bridge@": {"ProtectClock", "RestrictRealtime"},
    "controller@": {
        "ProtectProc",
        "ProtectKernelModules",
        "ProtectKernelTunables",
        "PrivateDevices",
        "RestrictRealtime",
    },
    "shim@": {"ProtectProc", "ProtectKernelModules", "ProtectKernelTunables"},
    "store": {
        "ProtectProc",
        "ProtectKernelModules",
        "ProtectKernelTunables",
        "ProtectClock",
        "PrivateDevices",
        "RestrictRealtime",
    },
}


def service_of(name: str) -> configparser.SectionProxy:
    return parsed(PACKAGING / f"systemd/rtvnic-{name}.service")["Service"]


@pytest.mark.parametrize("name", LIMITS)
def test_limits_of_a_process(name: str) -> None:
    service = service_of(name)
    assert tuple(service.get(key) for key in ("MemoryMax", "TasksMax", "LimitNOFILE")) == LIMITS[name]


@pytest.mark.parametrize("name", CAPABILITIES)
def test_a_unit_has_the_capabilities_of_its_task_and_no_other(name: str) -> None:
    service = service_of(name)
    assert set(service["CapabilityBoundingSet"].split()) == CAPABILITIES[name]
    assert set(service["RestrictAddressFamilies"].split()) == FAMILIES[name]
    assert set(service["SystemCallFilter"].split()) == CALLS[name]


@pytest.mark.parametrize("name", PROTECTED)
def test_what_no_unit_may_do(name: str) -> None:
    service = service_of(name)
    assert {key: service.get(key) for key in HARDENING} == HARDENING
    assert {key for key in PROTECTED[name] if service.get(key) not in ("yes", "invisible")} == set()


def test_the_only_device_of_a_shim_is_the_tap() -> None:
    service = service_of("shim@")
    assert (service["DevicePolicy"], service["DeviceAllow"]) == ("closed", "/dev/net/tun rw")


@pytest.mark.parametrize("name", ["controller@", "shim@", "store"])
def test_a_service_that_dies_is_started_again_for_ever(name: str) -> None:
    unit = parsed(PACKAGING / f"systemd/rtvnic-{name}.service")
    assert unit["Service"]["Restart"] == "always"
    assert unit["Unit"]["StartLimitIntervalSec"] == "0"


@pytest.mark.parametrize(
    ("result", "pause"), [("exit-code", "2"), ("signal", ""), ("core-dump", ""), ("watchdog", ""), ("success", "")]
)
def test_only_a_shim_that_gave_up_by_itself_waits(result: str, pause: str, tmp_path: Path) -> None:
    """systemd makes `$` of `$$`, and sets SERVICE_RESULT."""
    sleep = tmp_path / "sleep"
    sleep.write_text('#!/bin/sh\nprintf %s "$1"\n')
    sleep.chmod(0o755)
    words = shlex.split(service_of("shim@")["ExecStopPost"].replace("$$", "$"))
    environment = {"PATH": str(tmp_path), "SERVICE_RESULT": result}
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=10, check=True)
    assert done.stdout == pause


@pytest.mark.parametrize("unit", [unit for unit in UNITS if "store" not in unit.name], ids=lambda unit: unit.name)
def test_what_they_start_takes_those_words(unit: Path) -> None:
    program, verb, *words = words_of(unit)
    assert program == PROGRAM and verb in VERBS
    parser = argparse.ArgumentParser(exit_on_error=False)
    importlib.import_module(f"rtvnic.{verb}").arguments(parser)
    args = parser.parse_args([word for word in words if not re.fullmatch(r"\$RTVNIC_\w+_OPTIONS", word)])
    assert "left" in vars(args).values() or args.inner == shim_interface("left")


def test_the_shim_is_where_the_controller_and_the_bridge_expect_it() -> None:
    words = words_of(PACKAGING / "systemd/rtvnic-shim@.service")
    names = {port.role: port.interface for port in ports_of(parse(FILE, Path("net.yaml")), "left")}
    assert words[2] == shim_interface("left")
    assert words[words.index("--liveness") + 1] == names[PortRole.LIVENESS]
    assert words[words.index("--socket") + 1] == f"/run/rtvnic/{shim_socket('left').relative_to(RUN_DIR)}"
    uplink = parsed(PACKAGING / "systemd/rtvnic-shim@.service")["Service"]["Environment"]
    assert uplink.replace("%i", "left") == f"RTVNIC_UPLINK={names[PortRole.UPLINK]}"


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_none_takes_the_run_directory_from_the_others(unit: Path) -> None:
    service = parsed(unit)["Service"]
    assert service["RuntimeDirectory"] == "rtvnic"
    assert service["RuntimeDirectoryPreserve"] == "yes"


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_their_settings_are_explained_in_the_file_of_settings(unit: Path) -> None:
    explained = set(re.findall(r"^#(RTVNIC_\w+)=", (PACKAGING / "default/rtvnic").read_text(), re.MULTILINE))
    assert set(re.findall(r"RTVNIC_\w+", unit.read_text())) <= explained
