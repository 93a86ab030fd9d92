"""When the keeper repairs, when it tries the queues, and when it says nothing. The kernel is a fake one."""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from functools import partial

import pytest
from pyroute2.netlink.exceptions import NetlinkError
from support.networks import two_hypervisors

from controller.domain.events import Proof, QueuesProbed
from ovs_config import keeper, probe
from ovs_config.filters import QueueFilter, class_of, planned_filters
from ovs_config.keeper import Keeper
from ovs_config.plan import BridgePlan, DatapathType, QosPlan, QueuePlan, plan_bridge

PLAN = plan_bridge(two_hypervisors(), "left", DatapathType.NETDEV)
QUEUES = (0, 3, 5)
UPLINK = next(port for port in PLAN.ports if port.qos)
TWO_UPLINKS = replace(PLAN, ports=(UPLINK, replace(UPLINK, interface="other-up", number=2)))


class FakeKernel:
    """One uplink, with what a test says of it."""

    def __init__(self) -> None:
        self.has_interface = self.is_port = self.has_queues = True
        self.is_of_another_run = False
        self.refusal = 0
        self.filters: set[QueueFilter] = set()
        self.probed = 0
        self.changes: list[str] = []
        self.rebuilt: list[str] = []
        self.can_rebuild = False
        self.down = ""

    def index_of(self, _: object, interface: str) -> int | None:
        return 7 if self.has_interface else None

    def classes_of(self, _: object, interface: str) -> dict[int, int]:
        return {class_of(queue): 0 for queue in QUEUES} if self.has_interface and self.has_queues else {}

    def missing_filters(self, _: object, plan: BridgePlan) -> set[QueueFilter]:
        return planned_filters(plan) - self.filters

    def add_possible_filters(self, ip: object, plan: BridgePlan) -> list[str]:
        if self.refusal:
            raise NetlinkError(self.refusal, "no")
        missing = self.missing_filters(ip, plan) if self.has_interface and self.has_queues else set()
        self.filters |= missing
        return [f"{each}: added" for each in sorted(missing)]

    def apply_queues(self, ovsdb: object, plan: BridgePlan) -> list[str]:
        assert ovsdb is self and plan.name == "left"
        changes, self.changes = self.changes, []
        return changes

    def shaped_interfaces(self, ovsdb: object, owner: str) -> list[str]:
        assert ovsdb is self and owner == "left"
        return ["left-up", "other-up"] if self.is_port else []

    def rebuild_queues(self, ovsdb: object, plan: BridgePlan, interface: str) -> bool:
        assert ovsdb is self
        self.rebuilt.append(interface)
        self.has_queues = self.can_rebuild
        return self.can_rebuild

    def probe_port(self, ip: object, interface: str, qos: QosPlan) -> dict[int, Proof]:
        if interface == self.down:
            raise OSError(errno.ENETDOWN, "Network is down")
        self.probed += 1
        whole = Proof.NOT_PROVED if self.missing_filters(ip, PLAN) else Proof.PROVED
        return dict.fromkeys(QUEUES, whole if self.classes_of(ip, interface) else Proof.NOT_SUPPORTED)


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> FakeKernel:
    fake = FakeKernel()
    monkeypatch.setattr(keeper, "IPRoute", nullcontext)
    monkeypatch.setattr(keeper, "is_of_another_run", lambda *_: fake.is_of_another_run)
    for name in (
        *("index_of", "classes_of", "missing_filters", "add_possible_filters", "probe_port"),
        *("apply_queues", "rebuild_queues", "shaped_interfaces"),
    ):
        monkeypatch.setattr(keeper, name, getattr(fake, name))
    return fake


@pytest.fixture
def told() -> list[QueuesProbed]:
    return []


@pytest.fixture
def look(kernel: FakeKernel, told: list[QueuesProbed]) -> Callable[[], None]:
    made = Keeper("left", told.append)
    made.plan = PLAN
    return partial(made.look, kernel)


def all_are(proof: Proof) -> QueuesProbed:
    return QueuesProbed("left", {(1, queue): proof for queue in QUEUES})


def test_what_is_missing_is_added_and_tried_then_all_is_silent(
    kernel: FakeKernel, look: Callable[[], None], told: list[QueuesProbed], caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(3):
        look()
    assert kernel.filters == planned_filters(PLAN)
    assert told == [all_are(Proof.PROVED)] and kernel.probed == 1
    (record,) = caplog.records
    assert "queue filter of left-up: TC 3: added" in record.message


def test_filters_that_were_there_before_are_tried_without_a_word(
    kernel: FakeKernel, look: Callable[[], None], told: list[QueuesProbed], caplog: pytest.LogCaptureFixture
) -> None:
    kernel.filters = planned_filters(PLAN)
    look()
    assert told == [all_are(Proof.PROVED)] and caplog.records == []


def test_each_repair_is_logged_and_followed_by_a_probe(
    kernel: FakeKernel, look: Callable[[], None], told: list[QueuesProbed], caplog: pytest.LogCaptureFixture
) -> None:
    look()
    lost = min(kernel.filters)
    kernel.filters.remove(lost)
    look()
    assert len(told) == 2
    assert [record.message for record in caplog.records][1:] == [f"{lost}: added"]


def test_an_interface_that_is_not_there_is_waited_for_in_silence(
    kernel: FakeKernel, look: Callable[[], None], told: list[QueuesProbed], caplog: pytest.LogCaptureFixture
) -> None:
    kernel.has_interface = False
    for _ in range(3):
        look()
    assert told == [] and caplog.records == []


def test_a_port_that_open_vswitch_does_not_have_is_waited_for_in_silence(
    kernel: FakeKernel, look: Callable[[], None], told: list[QueuesProbed], caplog: pytest.LogCaptureFixture
) -> None:
    """Its interface may long be there: what a test bed makes of a link before it makes the bridge."""
    kernel.is_port = kernel.has_queues = False
    for _ in range(3):
        look()
    kernel.is_port = True
    look()
    assert kernel.rebuilt == [], "Open vSwitch may be about to build them"
    assert told == [] and caplog.records == []


def test_a_port_without_queues_is_not_supported_once_that_lasts(
    kernel: FakeKernel, look: Callable[[], None], told: list[QueuesProbed]
) -> None:
    kernel.has_queues = False
    look()
    assert told == [], "Open vSwitch may be about to build them"
    look()
    look()
    assert told == [all_are(Proof.NOT_SUPPORTED)]
    kernel.has_queues = True
    look()
    assert told[1:] == [all_are(Proof.PROVED)]


def test_queues_that_somebody_removed_are_built_anew(
    kernel: FakeKernel, look: Callable[[], None], caplog: pytest.LogCaptureFixture
) -> None:
    look()
    kernel.has_queues, kernel.can_rebuild, kernel.filters = False, True, set()
    look()
    assert kernel.rebuilt == [], "Open vSwitch may be about to build them"
    look()
    assert kernel.rebuilt == ["left-up"]
    assert "the queues of left-up are gone and are built anew" in caplog.text
    look()
    assert kernel.rebuilt == ["left-up"] and kernel.filters == planned_filters(PLAN)


def test_changed_queues_are_told_to_the_log(
    kernel: FakeKernel, look: Callable[[], None], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    kernel.changes = ["queue 5 of left-up: other_config corrected"]
    look()
    look()
    assert [record.message for record in caplog.records if "corrected" in record.message] == [
        "queue 5 of left-up: other_config corrected"
    ]


def test_filters_that_the_kernel_refuses_are_said_so_once_and_the_queues_are_not_proved(
    kernel: FakeKernel, look: Callable[[], None], told: list[QueuesProbed], caplog: pytest.LogCaptureFixture
) -> None:
    kernel.refusal = 2
    look()
    assert caplog.records == [], "it may pass"
    for _ in range(3):
        look()
    (record,) = caplog.records
    assert record.levelno == logging.WARNING and "the queues of left cannot be kept" in record.message
    assert told == [all_are(Proof.NOT_PROVED)]


def test_an_interface_of_another_run_is_left_alone(
    kernel: FakeKernel, look: Callable[[], None], told: list[QueuesProbed]
) -> None:
    kernel.is_of_another_run = True
    look()
    assert kernel.filters == set() and told == []


@pytest.mark.parametrize(("down", "number"), [("left-up", 1), ("other-up", 2)])
def test_a_port_that_is_down_holds_up_no_other_and_is_told_of_when_it_is_up(
    kernel: FakeKernel, told: list[QueuesProbed], caplog: pytest.LogCaptureFixture, down: str, number: int
) -> None:
    made = Keeper("left", told.append)
    made.plan = TWO_UPLINKS
    kernel.filters = planned_filters(TWO_UPLINKS)
    kernel.down = down
    for _ in range(3):
        made.look(kernel)
    assert told == [QueuesProbed("left", {(3 - number, queue): Proof.PROVED for queue in QUEUES})]
    (record,) = caplog.records
    assert f"no frame can be sent by {down}: " in record.message
    kernel.down = ""
    made.look(kernel)
    assert told[1:] == [QueuesProbed("left", {(number, queue): Proof.PROVED for queue in QUEUES})]


def test_a_probe_frame_is_no_channels_and_goes_no_further_than_the_neighbour() -> None:
    frames = probe.frames(QueuePlan(5, 0, 0, 0, 0, dscp=46))
    for data in frames.values():
        assert data[:6] == bytes.fromhex("0180c200000e") and data[6] & 3 == 2, "a locally administered source"
        assert data[12:14] == b"\x88\x48", "a shim looks at 8847 only"
        assert len(data) == 60
    labels = frames[0x8847]
    deadline, channel = (int.from_bytes(labels[at : at + 4]) for at in (14, 18))
    assert (deadline >> 9 & 7, deadline >> 8 & 1, deadline & 0xFF) == (5, 0, 254)
    assert (channel >> 12, channel >> 9 & 7, channel >> 8 & 1) == (15, 5, 1)
    assert (frames[0x0800][14:16], frames[0x86DD][14:18]) == (b"\x45\xb8", b"\x6b\x80\0\0")
