"""What a file need not say, what its short forms mean, and that what it does say is kept."""

from __future__ import annotations

from enum import StrEnum
from ipaddress import ip_address, ip_interface
from pathlib import Path

import pytest

from controller.errors import CannotRun, InvalidFile
from controller.handlers.declared import Handler, Program, Webhook
from controller.model import (
    Bypass,
    Channel,
    DeadlineClass,
    Endpoint,
    Excess,
    Hypervisor,
    Late,
    Link,
    Network,
    Protocol,
    Scheduler,
    Switch,
    SwitchKind,
    Uplink,
    Vm,
)
from controller.network.labels import assign_channel_labels
from controller.topology_file.load import load, parse

MS = 1_000_000

SHORT = """
version: 1
hypervisors: {left: {uplink: 100Mbps}, right: {uplink: 1Gbps}}
vms: {a: {hypervisor: left, ip: 10.0.0.1}, b: {hypervisor: right, ip: ["fd00::2", 10.0.0.2/24]}}
channels: {c: {from: a, to: b, deadline: 5ms, min_rate: 2Mbps}}
"""

LONG = """
version: 1
hypervisors:
  left:
    uplink: {rate: 1.5Gbps, be_slack: 500us, limit: 1Gbps, switch: edge, scheduler: fifo, interface: eth1}
    controller: {address: "::1", openflow_port: 7000, rest_port: 8000}
    allowance: 1ms
  right: {uplink: {rate: 1Gbps, switch: core}}
switches: {core: plain, edge: {kind: ovs, controlled_by: right}, other: ovs}
links: [[core, edge, 2Gbps]]
vms:
  a: {hypervisor: left, ip: [10.0.0.1, "fd00::1"], mac: "02:AB:00:00:00:01", interface: tap0}
  b: {hypervisor: right, ip: [10.0.0.2, "fd00::2"]}
classes: {slow: {queue: 1, dscp: 10, up_to: 1s}, fast: {queue: 7, dscp: 46, up_to: 10ms, limit: 3Mbps}}
channels:
  c: {from: a, to: b, deadline: 10.1ms, min_rate: 2Mbps, burst: 4KiB, protocol: tcp, src_port: 1, dst_port: 65535,
      ip_version: 6, on_miss: [log], packet: 160B, excess: drop, late: keep, on_bypass: block}
"""


def network(text: str) -> Network:
    return parse(text.encode(), Path("net.yaml"))


def with_channel(**more: str) -> Channel:
    keys = "".join(f", {key}: {value}" for key, value in more.items())
    return network(SHORT.replace("min_rate: 2Mbps", f"min_rate: 2Mbps{keys}")).channels["c"]


def test_hypervisors_number_themselves() -> None:
    right = network(SHORT).hypervisors["right"]
    uplink = Uplink("core", "right-up", 10**9, be_slack_ns=2 * MS, scheduler=Scheduler.EDF)
    assert right == Hypervisor("right", 2, uplink, Endpoint("127.0.0.1", 6654, 8182, 6754), allowance_ns=200_000)


def test_one_plain_switch_is_there_without_being_declared() -> None:
    assert network(SHORT).switches == {"core": Switch("core", SwitchKind.PLAIN, 3, "")}


def test_the_only_switch_is_where_uplinks_lead() -> None:
    declared = network(SHORT + "switches: {middle: ovs}")
    assert declared.hypervisors["left"].uplink.switch == "middle"
    assert declared.switches["middle"].domain == "left"


def test_vms_number_themselves() -> None:
    addresses = (ip_interface("fd00::2/64"), ip_interface("10.0.0.2/24"))
    assert network(SHORT).vms["b"] == Vm("b", "right", "02:00:00:00:00:02", addresses, "b-port")


def test_the_thousandth_vm_has_a_mac_address_of_two_bytes() -> None:
    vms = "".join(f"  v{i}: {{hypervisor: left, ip: 10.0.{i // 250}.{i % 250 + 1}/16}}\n" for i in range(1000))
    last = network(f"version: 1\nhypervisors: {{left: {{uplink: 1Gbps}}}}\nvms:\n{vms}").vms["v999"]
    assert last.mac == "02:00:00:00:03:e8"


@pytest.mark.parametrize("address", ["10.0.0.0/31", "10.0.0.255/32", "fd00::/127"])
def test_a_network_of_one_or_two_addresses_has_no_special_ones(address: str) -> None:
    assert network(SHORT.replace('["fd00::2", ', f"['{address}', ")).vms["b"].addresses[0] == ip_interface(address)


def test_default_classes() -> None:
    rows = [(entry.name, entry.queue_id, entry.dscp, entry.up_to_ns // MS) for entry in network(SHORT).classes]
    assert rows == [
        ("2ms", 7, 46, 2),
        ("4ms", 6, 44, 4),
        ("8ms", 5, 34, 8),
        ("16ms", 4, 36, 16),
        ("40ms", 3, 26, 40),
        ("200ms", 2, 18, 200),
        ("5s", 1, 10, 5000),
    ]


def test_classes_join_without_gap() -> None:
    classes = network(SHORT).classes
    assert [entry.above_ns for entry in classes] == [0, *(entry.up_to_ns for entry in classes[:-1])]


def test_a_channel_takes_the_first_addresses_in_a_common_network() -> None:
    channel = network(SHORT).channels["c"]
    assert (channel.source, channel.destination) == (ip_address("10.0.0.1"), ip_address("10.0.0.2"))


def test_a_channel_in_short_selects_all_packets_and_logs_misses() -> None:
    channel = network(SHORT).channels["c"]
    assert (channel.protocol, channel.src_port, channel.dst_port, channel.on_miss) == (None, None, None, ("log",))
    assert channel.label == assign_channel_labels(["c"])["c"]


@pytest.mark.parametrize(
    ("rate", "burst_bytes"),
    [("2Mbps", 2 * (1514 + 8 + 24)), ("80Mbps", 10_000)],
)
def test_default_burst_is_a_millisecond_and_at_least_two_full_frames(rate: str, burst_bytes: int) -> None:
    assert network(SHORT.replace("min_rate: 2Mbps", f"min_rate: {rate}")).channels["c"].burst_bytes == burst_bytes


def test_a_channel_in_short_bends_where_it_can() -> None:
    channel = network(SHORT).channels["c"]
    assert (channel.excess, channel.late, channel.on_bypass) == (Excess.POSTPONE, Late.DEMOTE, Bypass.PASS)


@pytest.mark.parametrize(("key", "words"), [("excess", Excess), ("late", Late), ("on_bypass", Bypass)])
def test_each_word_of_a_choice_is_kept(key: str, words: type[StrEnum]) -> None:
    assert [getattr(with_channel(**{key: word}), key) for word in words] == list(words)


def test_a_packet_is_as_large_as_its_ip_version_allows() -> None:
    assert with_channel().packet_bytes == 1472
    assert network(SHORT.replace("ip: 10.0.0.1", "ip: 'fd00::1'")).channels["c"].packet_bytes == 1452
    assert with_channel(packet="1472B").packet_bytes == 1472
    assert network(SHORT.replace("2Mbps", "1kbps, packet: 1B")).channels["c"].packet_bytes == 1


def test_nothing_is_limited_where_the_file_does_not_say() -> None:
    found = network(SHORT)
    assert {each.uplink.limit_bps for each in found.hypervisors.values()} == {None}
    assert {each.limit_bps for each in found.classes} == {None}


def test_a_link_is_as_fast_as_the_fastest_uplink_where_the_file_does_not_say() -> None:
    assert network(LONG.replace("[core, edge, 2Gbps]", "[core, edge]")).links == (
        Link(("core", "edge"), 1_500_000_000),
    )


def test_class_queues_alone_may_schedule_an_uplink() -> None:
    queues = network(SHORT.replace("left: {uplink: 100Mbps}", "left: {uplink: {rate: 100Mbps, scheduler: queues}}"))
    assert queues.hypervisors["left"].uplink.scheduler is Scheduler.QUEUES


def test_an_automatic_slack_is_the_smallest_that_keeps_all_deadlines() -> None:
    """Two full packets and one before them, 3 * 1546 * 8 bits, and what comes in 5 ms at 2,100,544 bit/s take
    476.1 us; that is, in three digits:"""
    automatic = network(SHORT.replace("left: {uplink: 100Mbps}", "left: {uplink: {rate: 100Mbps, be_slack: auto}}"))
    assert automatic.hypervisors["left"].uplink.be_slack_ns == 477_000


def test_an_automatic_slack_without_channels_is_the_usual_one() -> None:
    automatic = network(SHORT.replace("right: {uplink: 1Gbps}", "right: {uplink: {rate: 1Gbps, be_slack: auto}}"))
    assert automatic.hypervisors["right"].uplink.be_slack_ns == 2 * MS


def test_a_single_miss_handler_needs_no_list() -> None:
    assert with_channel(on_miss="log").on_miss == with_channel(on_miss="[log]").on_miss == ("log",)


def test_a_more_specific_channel_may_overlap_a_wider_one() -> None:
    ports = ["", ", protocol: udp", ", protocol: udp, src_port: 1", ", protocol: udp, src_port: 1, dst_port: 2"]
    lines = "".join(
        f"  c{i}: {{from: a, to: b, deadline: 5ms, min_rate: 2Mbps{given}}}\n" for i, given in enumerate(ports)
    )
    head = SHORT[: SHORT.index("channels:")]
    assert len(network(f"{head}channels:\n{lines}").channels) == 4


def test_the_same_ports_of_another_protocol_are_another_selector() -> None:
    head = SHORT[: SHORT.index("channels:")]
    entry = "{from: a, to: b, deadline: 5ms, min_rate: 2Mbps, protocol: %s, %s: 5}"
    lines = f"channels: {{c: {entry % ('udp', 'src_port')}, d: {entry % ('tcp', 'dst_port')}}}"
    assert len(network(head + lines).channels) == 2


def test_what_the_file_says_is_kept() -> None:
    found = network(LONG)
    assert found.hypervisors["left"] == Hypervisor(
        "left",
        1,
        Uplink("edge", "eth1", 1_500_000_000, 500_000, Scheduler.FIFO, 10**9),
        Endpoint("::1", 7000, 8000, 6753),
        MS,
    )
    assert found.switches == {
        "core": Switch("core", SwitchKind.PLAIN, 3, ""),
        "edge": Switch("edge", SwitchKind.OVS, 4, "right"),
        "other": Switch("other", SwitchKind.OVS, 5, "left"),
    }
    assert found.links == (Link(("core", "edge"), 2 * 10**9),)
    addresses = (ip_interface("10.0.0.1/24"), ip_interface("fd00::1/64"))
    assert found.vms["a"] == Vm("a", "left", "02:ab:00:00:00:01", addresses, "tap0")
    fast, slow = DeadlineClass("fast", 7, 46, 0, 10 * MS, 3_000_000), DeadlineClass("slow", 1, 10, 10 * MS, 1000 * MS)
    assert found.classes == (fast, slow)
    assert found.channels["c"] == Channel(
        name="c",
        label=assign_channel_labels(["c"])["c"],
        talker="a",
        listener="b",
        source=ip_address("fd00::1"),
        destination=ip_address("fd00::2"),
        protocol=Protocol.TCP,
        src_port=1,
        dst_port=65535,
        deadline_ns=10_100_000,
        rate_bps=2_000_000,
        burst_bytes=4096,
        deadline_class=slow,
        packet_bytes=160,
        on_miss=("log",),
        excess=Excess.DROP,
        late=Late.KEEP,
        on_bypass=Bypass.BLOCK,
    )


def test_handlers_of_misses_have_defaults_and_keep_what_is_given() -> None:
    declared = network(
        SHORT
        + """handlers:
  pager: {exec: [/bin/page, --queue, rt]}
  root-pager: {exec: [/bin/page], user: root, every: 3600s, timeout: 60s}
  board: {webhook: "http://127.0.0.1:80/misses?to=rt", secret: /etc/board.secret, every: 100ms}
"""
    ).handlers
    assert declared == {
        "pager": Handler("pager", Program(("/bin/page", "--queue", "rt"), "nobody"), 10**9, 2 * 10**9),
        "root-pager": Handler("root-pager", Program(("/bin/page",), "root"), 3600 * 10**9, 60 * 10**9),
        "board": Handler(
            "board", Webhook("http://127.0.0.1:80/misses?to=rt", Path("/etc/board.secret")), 10**8, 2 * 10**9
        ),
    }


def test_a_file_that_cannot_be_read_is_not_an_invalid_one(tmp_path: Path) -> None:
    with pytest.raises(CannotRun, match=r"cannot read .*absent\.yaml: No such file or directory"):
        load(tmp_path / "absent.yaml")
    with pytest.raises(CannotRun, match="Is a directory"):
        load(tmp_path)


def test_load_names_the_file_in_each_problem(tmp_path: Path) -> None:
    file = tmp_path / "net.yaml"
    file.write_text(SHORT.replace("5ms", "5"))
    with pytest.raises(InvalidFile) as refused:
        load(file)
    assert str(refused.value) == f"{file}:5:42: channels.c.deadline: '5' has no unit; write 5ms or 500us"


@pytest.mark.parametrize(
    ("section", "entry", "allowed"),
    [
        ("hypervisors", "{uplink: 100Mbps}", 64),
        ("switches", "plain", 64),
        ("vms", "{hypervisor: left, ip: 10.0.0.1}", 1024),
        ("classes", "{queue: 1, dscp: 1, up_to: 1s}", 7),
        ("channels", "{from: a, to: b, deadline: 5ms, min_rate: 2Mbps}", 10_000),
        ("handlers", "{exec: [/bin/true]}", 16),
    ],
)
def test_limits(section: str, entry: str, allowed: int) -> None:
    lines = "".join(f"  x{index}: {entry}\n" for index in range(allowed + 1))
    head = "".join(line + "\n" for line in SHORT.splitlines() if not line.startswith(section))
    with pytest.raises(InvalidFile) as refused:
        network(f"{head}{section}:\n{lines}")
    assert f"{section}: {allowed + 1} entries; at most {allowed}" in str(refused.value)
