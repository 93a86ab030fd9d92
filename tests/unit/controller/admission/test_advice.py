"""Advice: what is said to be accepted is accepted, and nothing better by one step of its three digits is."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.admission.advice import (
    largest_rate_bps,
    plain_texts,
    refusal_text,
    refusal_texts,
    rounded_down,
    rounded_up,
    slack_ns,
    smallest_deadline_ns,
    with_slacks,
)
from controller.admission.condition import delay_bounds_ns
from controller.admission.guarantee import Guarantees, Refusal
from controller.admission.paths import Port
from controller.admission.tolerance import JITTERS_NS, enlarged
from controller.model import AUTO_SLACK_NS, Network
from controller.network.labels import MAX_DEADLINE_NS
from controller.topology_file.load import parse
from controller.units import DURATION, NS_PER_MS, RATE

MBPS = 1_000_000
UPLINK = Port("left", "core", True)
TOPOLOGY = """
version: 1
hypervisors:
  left: {{uplink: {left}}}
  right: {{uplink: {right}}}
switches: {{core: {core}}}
vms: {{a: {{hypervisor: left, ip: 10.0.0.1}}, b: {{hypervisor: right, ip: 10.0.0.2}}}}
classes: {{fast: {{queue: 7, dscp: 46, up_to: 10ms{limit}}}, slow: {{queue: 1, dscp: 10, up_to: 5s}}}}
channels:
  c: {{from: a, to: b, deadline: {deadline}, min_rate: {rate}, burst: {burst}}}
  d: {{from: a, to: b, deadline: 20ms, min_rate: 1Mbps, protocol: udp}}
"""
DEFAULTS = {
    "left": "100Mbps",
    "right": "100Mbps",
    "core": "plain",
    "limit": "",
    "deadline": "5ms",
    "rate": "2Mbps",
    "burst": "3092B",
}


def network(**parts: str) -> Network:
    """Two channels from left to right, and what `parts` say."""
    return parse(TOPOLOGY.format(**DEFAULTS | parts).encode(), Path("net.yaml"), is_admission_asked=False)


WORKING = {
    "plain": network(),
    "ovs": network(core="ovs"),
    "fast uplink": network(left="1Gbps", burst="20kB"),
    "queues": network(left="{rate: 100Mbps, scheduler: queues}"),
    "limited": network(left="{rate: 100Mbps, limit: 50Mbps}", limit=", limit: 10Mbps"),
    "small slack": network(left="{rate: 100Mbps, be_slack: 700us}"),
}


def keeps_all(network: Network) -> bool:
    return not Guarantees(network).refusals


def with_deadline(base: Network, deadline_ns: int) -> Network:
    channel = base.channels["c"]
    taker = next(each for each in base.classes if each.takes(deadline_ns))
    return replace(
        base, channels={**base.channels, "c": replace(channel, deadline_ns=deadline_ns, deadline_class=taker)}
    )


def with_rate(base: Network, rate_bps: int) -> Network:
    return replace(base, channels={**base.channels, "c": replace(base.channels["c"], rate_bps=rate_bps)})


def with_slack(base: Network, be_slack_ns: int) -> Network:
    left = base.hypervisors["left"]
    changed = replace(left, uplink=replace(left.uplink, be_slack_ns=be_slack_ns))
    return replace(base, hypervisors={**base.hypervisors, "left": changed})


def with_auto_slack(base: Network) -> Network:
    left = base.hypervisors["left"]
    changed = replace(left, uplink=replace(left.uplink, be_slack_ns=AUTO_SLACK_NS, is_slack_auto=True))
    return replace(base, hypervisors={**base.hypervisors, "left": changed})


def step(value: int) -> int:
    """From one number of three digits and zeros to the next."""
    return int(10 ** (len(str(value)) - 3))


@pytest.mark.parametrize("name", WORKING)
def test_the_smallest_deadline_has_three_digits_and_is_the_smallest_that_is_accepted(name: str) -> None:
    base = WORKING[name]
    smallest_ns = smallest_deadline_ns(Guarantees(base), "c")
    assert smallest_ns is not None
    assert smallest_ns == rounded_up(smallest_ns) < base.channels["c"].deadline_ns
    assert keeps_all(with_deadline(base, smallest_ns))
    assert not keeps_all(with_deadline(base, smallest_ns - step(smallest_ns - 1)))


@pytest.mark.parametrize("name", WORKING)
def test_the_largest_rate_has_three_digits_and_is_the_largest_that_is_accepted(name: str) -> None:
    base = WORKING[name]
    largest_bps = largest_rate_bps(Guarantees(base), "c")
    assert largest_bps is not None
    assert largest_bps == rounded_down(largest_bps) > base.channels["c"].rate_bps
    assert keeps_all(with_rate(base, largest_bps))
    assert not keeps_all(with_rate(base, largest_bps + step(largest_bps)))


def test_no_deadline_and_no_rate_helps_where_another_channel_is_refused() -> None:
    base = network()
    spoilt = replace(base, channels={**base.channels, "d": replace(base.channels["d"], rate_bps=200 * MBPS)})
    assert smallest_deadline_ns(Guarantees(spoilt), "c") is None
    assert largest_rate_bps(Guarantees(spoilt), "c") is None


def test_the_shortest_deadline_of_all_may_do() -> None:
    assert smallest_deadline_ns(Guarantees(network(left="100Gbps", right="{rate: 100Gbps}")), "c") is not None
    assert smallest_deadline_ns(Guarantees(network()), "c", passes=lambda changed: True) == 200_000


@pytest.mark.parametrize("least_ns", [200_001, 999_001, 1_000_000, 1_000_001, 4_999_999_999, MAX_DEADLINE_NS])
def test_the_answer_is_always_one_that_was_tried(least_ns: int) -> None:
    tried = []

    def passes(changed: Network) -> bool:
        tried.append(changed.channels["c"].deadline_ns)
        return tried[-1] >= least_ns

    smallest_ns = smallest_deadline_ns(Guarantees(network()), "c", passes)
    assert smallest_ns == rounded_up(least_ns)
    assert smallest_ns in tried
    assert all(each == rounded_up(each) for each in tried)


def test_where_only_some_deadlines_pass_the_answer_is_one_of_them() -> None:
    """A longer deadline may bring a larger burst: 2.5 to 3 ms pass, no more."""

    def passes(changed: Network) -> bool:
        return 2_500_000 <= changed.channels["c"].deadline_ns <= 3_000_000

    assert smallest_deadline_ns(Guarantees(network()), "c", passes) == 2_500_000


def test_no_deadline_is_advised_that_no_class_takes() -> None:
    """64,000 bits and a frame take 7.6 ms at 10 Mb/s; the only class ends at 4 ms."""
    text = TOPOLOGY.format(**DEFAULTS | {"left": "{rate: 10Mbps, be_slack: 100ms}", "burst": "8kB", "deadline": "4ms"})
    classes = "classes: {fast: {queue: 7, dscp: 46, up_to: 4ms}}"
    text = re.sub("classes: .*", classes, re.sub("  d: .*", "", text))
    found = Guarantees(parse(text.encode(), Path("net.yaml"), is_admission_asked=False))
    assert smallest_deadline_ns(found, "c") is None
    assert refusal_texts(found)[0].endswith("; take channels away, or a faster link")
    assert smallest_deadline_ns(found, "c", least_ns=4_010_000) is None
    assert smallest_deadline_ns(found, "c", passes=lambda changed: True, least_ns=4 * NS_PER_MS) == 4 * NS_PER_MS


def test_no_deadline_where_none_passes() -> None:
    assert smallest_deadline_ns(Guarantees(network()), "c", passes=lambda changed: False) is None
    assert largest_rate_bps(Guarantees(network()), "c", passes=lambda changed: False) is None


@given(st.integers(1, 10**12))
def test_rounding_keeps_three_digits(value: int) -> None:
    up, down = rounded_up(value), rounded_down(value)
    assert down <= value <= up
    assert up - down <= max(1, value // 100)
    assert all(len(str(each).rstrip("0")) <= 3 for each in (up, down))
    assert rounded_up(up) == up and rounded_down(down) == down


# Slacks


def test_an_automatic_slack_is_the_smallest_of_three_digits_that_forgives_jitter() -> None:
    automatic = with_slacks(with_auto_slack(network()))
    found_ns = automatic.hypervisors["left"].uplink.be_slack_ns
    assert len(str(found_ns).rstrip("0")) <= 3
    assert keeps_all(enlarged(automatic, 5 * NS_PER_MS))
    assert not keeps_all(enlarged(with_slack(automatic, found_ns - 1000), 5 * NS_PER_MS))


def test_an_automatic_slack_does_without_where_there_is_no_room() -> None:
    """The two channels leave no room for a twentieth more."""
    tight = network(rate="90Mbps")
    automatic = with_slacks(with_auto_slack(tight))
    found_ns = automatic.hypervisors["left"].uplink.be_slack_ns
    assert not any(keeps_all(enlarged(automatic, jitter_ns)) for jitter_ns in JITTERS_NS)
    assert keeps_all(automatic)
    assert not keeps_all(with_slack(automatic, found_ns - 1000))


def test_an_automatic_slack_is_never_smaller_than_the_contracts_need() -> None:
    """With larger contracts `x` has no time left at the shim, and asks nothing of its slack there."""
    text = """
version: 1
hypervisors:
  left: {uplink: {rate: 100Mbps, be_slack: auto}}
  other: {uplink: 100Mbps}
  right: {uplink: 100Mbps}
switches: {core: plain}
vms:
  a: {hypervisor: left, ip: 10.0.0.1}
  b: {hypervisor: right, ip: 10.0.0.2}
  o: {hypervisor: other, ip: 10.0.0.3}
channels:
  x: {from: a, to: b, deadline: 4117us, min_rate: 21814kbps, burst: 2747B, protocol: udp}
  y: {from: a, to: b, deadline: 100ms, min_rate: 10kbps}
  z: {from: o, to: b, deadline: 7267us, min_rate: 30953kbps}
"""
    assert keeps_all(parse(text.encode(), Path("net.yaml")))


def test_slacks_that_the_file_gives_are_kept() -> None:
    base = with_slack(network(), 700_000)
    assert with_slacks(base) == base


def test_an_automatic_slack_that_cannot_be_is_the_usual_one() -> None:
    automatic = with_slacks(with_auto_slack(network(rate="200Mbps")))
    assert automatic.hypervisors["left"].uplink.be_slack_ns == 2 * NS_PER_MS


def test_the_smallest_slack_gives_best_effort_the_most() -> None:
    found = Guarantees(with_slack(network(), 619_000))
    assert slack_ns(found, UPLINK) == 619_000
    assert delay_bounds_ns(found.paths.edf_link(UPLINK), found.demands(UPLINK)).keys() == {"c", "d"}


# Remedies

Remedy = Callable[[Network], Network]
REMEDIES: dict[str, Callable[[str], Remedy]] = {
    r"deadline: (\S+) or more for 'c'": lambda value: lambda base: with_deadline(base, DURATION.parse(value)),
    r"min_rate: (\S+) or less for 'c'": lambda value: lambda base: with_rate(base, RATE.parse(value)),
    r"be_slack: (\S+) or more": lambda value: lambda base: with_slack(base, DURATION.parse(value)),
}


def remedies(text: str) -> list[Remedy]:
    """All that `text` says would do, each as a change of a network."""
    named = text.partition("; one of these would do: ")[2].split("; ")
    found = [(made, re.fullmatch(pattern, name)) for name in named for pattern, made in REMEDIES.items()]
    changes = [made(match[1]) for made, match in found if match]
    assert len(changes) == len(named), f"every remedy of '{text}' must be understood"
    return changes


REFUSED = {
    "short of slack": (network(left="{rate: 100Mbps, be_slack: 200us}"), 1),
    "short of slack for a burst": (network(left="{rate: 100Mbps, be_slack: 1ms}", burst="20kB"), 1),
    "short of time": (network(left="{rate: 100Mbps, be_slack: 20ms}", burst="60kB"), 1),
    "short of both": (network(burst="60kB"), 1),
    "short of rate at the last port only": (network(left="1Gbps", rate="200Mbps", deadline="10ms"), 1),
    "used up": (network(core="ovs", deadline="500us"), 1),
    "used up without a shim": (network(left="{rate: 100Mbps, scheduler: queues}", deadline="500us"), 1),
    "class over its limit": (network(limit=", limit: 1Mbps"), 2),
    "class over its limit, or in another class": (network(limit=", limit: 2.1Mbps", rate="3Mbps"), 2),
    "uplink over its limit": (network(left="{rate: 100Mbps, limit: 3Mbps}"), 1),
    "uplink over its limit and short of slack": (
        network(left="{rate: 100Mbps, limit: 3Mbps, be_slack: 200us}"),
        2,
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_every_remedy_that_is_named_takes_its_refusal_away_and_brings_none(name: str) -> None:
    base, count = REFUSED[name]
    found = Guarantees(base)
    assert len(found.refusals) == count
    for refusal in found.refusals:
        others = {each.at for each in found.refusals} - {refusal.at}
        text = refusal_text(found, refusal)
        if "one of these would do" in text:
            for change in remedies(text):
                assert {each.at for each in Guarantees(change(base)).refusals} <= others


def test_a_longer_deadline_is_a_remedy_where_the_slack_allows_it() -> None:
    (text,) = texts(REFUSED["short of time"][0])
    assert "one of these would do: deadline: " in text
    assert texts(REFUSED["short of both"][0])[0].endswith("; take channels away, or a faster link")


def test_a_larger_slack_is_no_remedy_for_a_limit() -> None:
    base, _ = REFUSED["uplink over its limit and short of slack"]
    assert all("be_slack" not in text for text in texts(base))


def texts(base: Network) -> list[str]:
    found = Guarantees(base)
    return [refusal_text(found, refusal) for refusal in found.refusals]


def test_a_refusal_at_a_port_says_where_what_who_and_the_cure() -> None:
    assert texts(REFUSED["uplink over its limit"][0]) == [
        "the uplink of left: all channels together ask for 3.151Mbps on the wire; their limit is 3Mbps; "
        "most of it from c, d; one of these would do: min_rate: 1.85Mbps or less for 'c'"
    ]


def test_a_refusal_of_a_channel_names_it_once() -> None:
    (text,) = texts(REFUSED["used up"][0])
    assert text.startswith("channel 'c': its deadline is used up before its shim has any: 200us for left's allowance, ")
    assert "most of it" not in text
    assert "; one of these would do: deadline: " in text


def test_who_may_know_of_one_channel_only_is_told_of_no_other() -> None:
    at_port, at_channel = (Guarantees(REFUSED[name][0]) for name in ("uplink over its limit", "used up"))
    assert plain_texts(at_port, "d") == [
        "the uplink of left: all channels together ask for 3.151Mbps on the wire; their limit is 3Mbps"
    ]
    (own,) = plain_texts(at_channel, "c")
    assert own.startswith("channel 'c': its deadline is used up")
    assert plain_texts(at_channel, "d") == ["another channel would lose its deadline"]


def test_where_no_change_of_one_thing_helps_it_says_so() -> None:
    """Each channel alone is more than the link carries."""
    base = network(rate="200Mbps")
    both = replace(base, channels={**base.channels, "d": replace(base.channels["d"], rate_bps=200 * MBPS)})
    assert all(text.endswith("; take channels away, or a faster link") for text in texts(both))


@pytest.mark.parametrize("parts", [{"left": "{rate: 100Mbps, limit: 3Mbps}"}, {"limit": ", limit: 3Mbps"}])
def test_where_no_change_of_one_channel_helps_against_a_limit_a_higher_one_is_named(parts: dict[str, str]) -> None:
    """Any two of the three are more than the limit."""
    base = network(**parts, deadline="10ms")
    alike = {name: replace(base.channels["c"], name=name) for name in ("c", "d", "e")}
    found = texts(replace(base, channels=alike))
    assert found and all(text.endswith("; take channels away, or a higher limit") for text in found)


def test_a_refusal_elsewhere_does_not_hide_the_remedy_of_this_one() -> None:
    """The uplink of left is short of slack; `back` asks for too much of that of right."""
    base = network(left="{rate: 100Mbps, be_slack: 200us}")
    back = replace(base.channels["d"], name="back", talker="b", listener="a", rate_bps=200 * MBPS)
    both = replace(base, channels={**base.channels, "back": back})
    found = Guarantees(both)
    (first,) = [each for each in found.refusals if each.at == UPLINK]
    assert isinstance(first, Refusal)
    assert refusal_text(found, first).endswith("one of these would do: be_slack: 619us or more")


def test_of_many_refusals_in_a_large_network_the_first_come_with_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    found = Guarantees(REFUSED["class over its limit"][0])
    assert refusal_texts(found) == [refusal_text(found, refusal) for refusal in found.refusals]
    monkeypatch.setattr("controller.admission.advice.ADVISED_MOST", len(found.network.channels))
    first, second = refusal_texts(found)
    assert first == refusal_text(found, found.refusals[0])
    assert second.endswith("; mend the others first")
