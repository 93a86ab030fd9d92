"""A guest reaches the service address whatever routes its VM has, without privileges: two namespaces and a wire."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.waiting import PATIENCE_S

from guest.messages import SERVICE_IPV4, SERVICE_IPV6, SERVICE_PORT

ROOT = Path(__file__).parents[2]
VM, HYPERVISOR = f"guest{os.getpid()}", f"service{os.getpid()}"
UNPRIVILEGED = ["setpriv", "--inh-caps=-all", "--bounding-set=-all"]
CONTRACT = ["--deadline", "5ms", "--rate", "2Mbps", "--once"]


def shell(*lines: str) -> None:
    for line in lines:
        subprocess.run(line.split(), check=True)


@pytest.fixture
def wire() -> Iterator[None]:
    """`eth0` in the VM, `up0` in the hypervisor. No addresses, no routes."""
    try:
        shell(
            f"ip netns add {VM}",
            f"ip netns add {HYPERVISOR}",
            f"ip -n {VM} link add eth0 type veth peer name up0 netns {HYPERVISOR}",
            f"ip netns exec {VM} sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.eth0.rp_filter=0",
            f"ip netns exec {VM} sysctl -qw net.ipv6.conf.eth0.accept_dad=0",
            f"ip netns exec {HYPERVISOR} sysctl -qw net.ipv6.conf.up0.accept_dad=0",
            f"ip -n {VM} link set lo up",
            f"ip -n {HYPERVISOR} link set lo up",
            f"ip -n {VM} link set eth0 up",
            f"ip -n {HYPERVISOR} link set up0 up",
        )
        yield
    finally:
        for name in (VM, HYPERVISOR):
            subprocess.run(["ip", "netns", "del", name], check=False)


@pytest.fixture
def ipv4(wire: None) -> Iterator[None]:
    """The VM has an address, and nothing leads to the service but the wire."""
    shell(
        f"ip -n {VM} addr add 10.0.0.1/24 dev eth0",
        f"ip -n {HYPERVISOR} addr add {SERVICE_IPV4}/32 dev up0",
        f"ip -n {HYPERVISOR} route add 10.0.0.0/24 dev up0",
    )
    yield from service(str(SERVICE_IPV4))


@pytest.fixture
def ipv6(wire: None) -> Iterator[None]:
    """The VM has no IPv4 address."""
    shell(
        f"ip -n {VM} addr add fd00::1/64 dev eth0 nodad",
        f"ip -n {HYPERVISOR} addr add {SERVICE_IPV6}/64 dev up0 nodad",
        f"ip -n {HYPERVISOR} route add fd00::/64 dev up0",
    )
    yield from service(f"{SERVICE_IPV6}%up0")


def service(address: str) -> Iterator[None]:
    """A service at the hypervisor's end; each channel misses something at once."""
    words = [sys.executable, ROOT / "tests/support/guest_service.py", address, str(SERVICE_PORT)]
    command = ["ip", "netns", "exec", HYPERVISOR, *words]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe) as running:
        assert running.stdout is not None
        try:
            assert running.stdout.readline() == b"ready\n"
            yield
        finally:
            running.kill()


def guest(*words: str) -> subprocess.CompletedProcess[str]:
    """`python -m guest` in the VM."""
    return in_vm(sys.executable, "-m", "guest", *words)


def in_vm(*words: str) -> subprocess.CompletedProcess[str]:
    command = ["ip", "netns", "exec", VM, *UNPRIVILEGED, *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_S)


def assert_is_answered(destination: str) -> None:
    opened = guest("open", destination, *CONTRACT)
    assert (opened.returncode, opened.stderr) == (0, "")
    assert "is installed" in opened.stdout
    listed = guest("list")
    assert listed.returncode == 0 and destination in listed.stdout


@pytest.mark.usefixtures("ipv4")
def test_without_a_route() -> None:
    assert_is_answered("10.0.0.2")


@pytest.mark.usefixtures("ipv4")
def test_with_a_default_route_by_a_gateway_that_does_not_know_the_service() -> None:
    shell(f"ip -n {VM} route add default via 10.0.0.254")
    assert_is_answered("10.0.0.2")
    assert_is_answered("192.0.2.1")


@pytest.mark.usefixtures("ipv4")
def test_with_another_interface_whose_network_the_destination_is_not_in() -> None:
    shell(
        f"ip -n {VM} link add eth1 type veth peer name eth2",
        f"ip -n {VM} addr add 10.9.0.1/24 dev eth1",
        f"ip -n {VM} link set eth1 up",
    )
    opened = guest("open", "10.0.0.2", *CONTRACT)
    assert (opened.returncode, opened.stderr) == (0, "")

    listed = guest("list")
    assert listed.returncode == 2
    assert listed.stderr == "this VM has 3 interfaces; name the one to the hypervisor (--interface)\n"
    assert guest("list", "--interface", "eth0").returncode == 0


@pytest.mark.usefixtures("ipv4")
@pytest.mark.parametrize("mode", [1, 2])
def test_says_what_lets_answers_in_where_the_vm_filters_by_reverse_path(mode: int) -> None:
    shell(f"ip netns exec {VM} sysctl -qw net.ipv4.conf.all.rp_filter={mode}")
    dropped = guest("open", "10.0.0.2", *CONTRACT)
    remedy = f"ip route add {SERVICE_IPV4} dev eth0"
    assert dropped.returncode == 2
    assert dropped.stderr.endswith(f"run {remedy}\n")

    shell(remedy.replace("ip", f"ip -n {VM}", 1))
    assert_is_answered("10.0.0.2")


@pytest.mark.usefixtures("ipv4")
def test_where_nothing_leads_to_the_destination() -> None:
    nowhere = guest("open", "192.0.2.1", *CONTRACT)
    assert (nowhere.returncode, nowhere.stderr) == (2, "no route leads to 192.0.2.1; add one, or check the address\n")


@pytest.mark.usefixtures("ipv6")
def test_without_ipv4() -> None:
    assert_is_answered("fd00::2")


@pytest.mark.usefixtures("ipv4")
def test_the_example_in_c(tmp_path: Path) -> None:
    shell(f"gcc -std=c11 -o {tmp_path}/example {ROOT}/guest/example.c")
    done = in_vm(f"{tmp_path}/example", "eth0", "10.0.0.2", "5000")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "channel 17: state 2, packets take 3.200 ms at most",
        "channel 17: 2 packets late, by 0.700 ms at most",
    ]
    assert guest("list").stdout == "no channels\n"
