"""What a shim is to hold."""

from __future__ import annotations

from dataclasses import replace

from support.examples import example
from support.networks import FAST, channel, hypervisor, two_hypervisors

from controller.admission.guarantee import Guarantees
from controller.domain.shim_terms import settings

NETWORK = two_hypervisors()


def test_a_shim_holds_its_uplink_and_the_terms_of_its_channels() -> None:
    left = replace(NETWORK.hypervisors["left"], allowance_ns=200_000)
    guarantees = Guarantees(replace(NETWORK, hypervisors={**NETWORK.hypervisors, "left": left}))
    found = settings(guarantees, "left", {}, {})
    assert found.link == {"rate_bps": 100_000_000, "be_slack_ns": 2_000_000, "allowance_ns": 200_000}
    assert sorted(found.channels) == [17, 18]
    video = NETWORK.channels["video"]
    assert found.channels[17] == {
        "label": 17,
        "rate_bps": video.wire_rate_bps,
        "burst_bytes": video.wire_burst_bytes,
        "downstream_ns": guarantees.downstream_ns(video),
        "clock_error_ns": 0,
        "late": "demote",
        "strips_labels": False,
        "is_shaped": False,
    }
    assert settings(guarantees, "right", {}, {}).channels == found.channels


def test_a_channel_that_crosses_no_uplink_or_another_is_none_of_its() -> None:
    vm1, vm2 = NETWORK.vms.values()
    near = replace(vm2, name="vm3", hypervisor="left")
    network = replace(NETWORK, vms={"vm1": vm1, "vm3": near}, channels={"near": channel("near", vm1, near, 19, FAST)})
    for name in ("left", "right"):
        assert settings(Guarantees(network), name, {}, {}).channels == {}


def test_channels_are_shaped_where_others_may_meet_them() -> None:
    third = hypervisor("third", 3, "middle")
    network = replace(NETWORK, hypervisors={**NETWORK.hypervisors, "third": third})
    found = settings(Guarantees(network), "left", {}, {}).channels
    assert [terms["is_shaped"] for terms in found.values()] == [True, True]


def test_a_host_gets_no_labels() -> None:
    network = example("plain_host")
    found = settings(Guarantees(network), "left", {}, {}).channels
    stripped = {label for label, terms in found.items() if terms["strips_labels"]}
    assert stripped == {each.label for each in network.channels.values() if each.listener in network.hosts} != set()
