"""`GET /metrics`, read as Prometheus reads it."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from support.domains import Driver, books, class_books, peer_tells, statistics, summary
from support.examples import distinct
from support.fake_store import FakeStore, asking
from support.networks import FAST, channel, two_hypervisors, vm, with_quota

from controller.clocks.clock import Clock, Source
from controller.domain.events import (
    ChannelsTold,
    ClockRead,
    GuestsReported,
    MetersReported,
    MissesReported,
    PeerClockReported,
    PeerGone,
    PeeringReported,
    PeerJoined,
    Proof,
    QueueCount,
    QueuesProbed,
    QueuesReported,
    ShimReported,
    StrangersReported,
)
from controller.domain.lifecycle import State
from controller.domain.reports import Role
from controller.guests.books import GuestBook
from controller.guests.entries import meter_id
from controller.model import Network, SwitchKind
from controller.network.wiring import FIRST_VM_PORT
from controller.openflow.counts import Traffic
from controller.openflow.pipeline import Purpose
from controller.peering.messages import MissReport
from controller.peering.session import Link
from controller.rest import metrics
from controller.rest.resources import HandlerView

PLAIN = with_quota(distinct(two_hypervisors(kind=SwitchKind.PLAIN)), "vm1")
NETWORK = replace(PLAIN, channels={**PLAIN.channels, "audio": replace(PLAIN.channels["audio"], on_miss=("adapt",))})
ROOT = Path(__file__).parents[4]
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def scrape(driver: Driver, network: Network = NETWORK) -> Samples:
    (answer,) = asking(driver, FakeStore(NETWORK), network, [("GET", "/metrics", {})])
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    found: Samples = {}
    for family in text_string_to_metric_families(answer.text):
        assert family.documentation and family.name.startswith("rtvnic_")
        for sample in family.samples:
            key = (sample.name, frozenset(sample.labels.items()))
            assert key not in found, "each once"
            found[key] = sample.value
    return found


def value(samples: Samples, name: str, /, **labels: str) -> float | None:
    return samples.get((f"rtvnic_{name}", frozenset(labels.items())))


def driver(name: str) -> Driver:
    """A domain at work, with something counted everywhere."""
    made = Driver(NETWORK, name)
    made.connect()
    role, other = (Role.LISTENER, "right") if name == "left" else (Role.TALKER, "left")
    book = books(
        missed=2,
        within_clock_error=3,
        unjudged=5,
        bypassed=1,
        postponed=4,
        queueing_delay=summary(100, 15_000),
        delay_sum_ns=1_500_000,
        delay_up_to=[60, 99],
        lateness=summary(97, -2_000_000),
        lateness_up_to=[50, 95, 97],
    )
    told = statistics({17: book}, {5: class_books(packets=100) | book | {"received_packets": 97}})
    told |= {
        "egress": {"queue_full": 3, "real_time_packets": 100, "late_departures": 1, "clock_steps": 1},
        "ingress": {"ring_dropped": 2, "packets": 97, "miss_events_dropped": 6},
    }
    made.hear(
        peer_tells(NETWORK, other, role, packets=97 if name == "left" else 100),
        QueuesReported(name, (QueueCount(1, 5, Traffic(3, 300), 7),)),
        QueuesProbed(name, {(1, 5): Proof.NOT_PROVED}),
        ShimReported(told),
    )
    purpose, packets = (Purpose.TALKER, 100) if name == "left" else (Purpose.LISTENER, 97)
    made.count(name, purpose, 17, Traffic(packets, 1))
    return made


VIDEO = {"channel": "video", "class": "fast"}


def test_the_talkers_controller_tells_what_was_sent() -> None:
    found = scrape(driver("left"))
    video = {"domain": "left"} | VIDEO
    assert value(found, "channel_sent_packets_total", **video) == 100
    assert value(found, "channel_postponed_packets_total", **video) == 4
    assert value(found, "channel_deadline_seconds", **video) == 0.005
    delay = "channel_queueing_delay_seconds"
    assert value(found, f"{delay}_bucket", le="2e-05", **video) == 60
    assert value(found, f"{delay}_bucket", le="+Inf", **video) == value(found, f"{delay}_count", **video) == 100
    assert value(found, f"{delay}_sum", **video) == pytest.approx(0.0015)
    for listeners in ("received_packets_total", "missed_packets_total", "lost_packets", "lateness_seconds_bucket"):
        assert not any(name == f"rtvnic_channel_{listeners}" for name, _ in found)


def test_the_listeners_controller_tells_what_arrived() -> None:
    found = scrape(driver("right"))
    video = {"domain": "right"} | VIDEO
    for name, expected in (
        ("received", 97),
        ("missed", 2),
        ("within_clock_error", 3),
        ("unjudged", 5),
        ("bypassed", 1),
    ):
        assert value(found, f"channel_{name}_packets_total", **video) == expected
    assert value(found, "channel_lost_packets", **video) == 3
    buckets = [value(found, "channel_lateness_seconds_bucket", le=le, **video) for le in ("-0.001", "0.0", "+Inf")]
    assert buckets == [50, 95, 97]
    assert not any(name == "rtvnic_channel_sent_packets_total" for name, _ in found)


def test_what_is_not_known_has_no_sample() -> None:
    """For a counter that falls to 0 and comes back is taken for new."""
    for name in ("left", "right"):
        new = Driver(NETWORK, name)
        new.connect()
        told = {metric.removeprefix("rtvnic_") for metric, _ in scrape(new)}
        counts = ("missed", "within_clock_error", "unjudged", "bypassed", "postponed", "demoted", "late_dropped")
        assert not told & {f"{of}_{count}_packets_total" for of in ("channel", "class") for count in counts}
        assert not told & {"class_sent_packets_total", "class_received_packets_total", "clock_steps_total"}
        assert "channel_lost_packets" not in told
    gone = driver("right")
    gone.hear(PeerGone("left", "is not running"))
    assert not any(name == "rtvnic_channel_lost_packets" for name, _ in scrape(gone))


def test_classes_count_both_ways() -> None:
    found = scrape(driver("left"))
    fast = {"domain": "left", "class": "fast"}
    assert value(found, "class_sent_packets_total", **fast) == 100
    assert value(found, "class_received_packets_total", **fast) == 97
    assert value(found, "class_lateness_seconds_bucket", le="0.0", **fast) == 95
    assert value(found, "class_queueing_delay_seconds_sum", **fast) == pytest.approx(0.0015)


def test_drops_by_cause() -> None:
    left = driver("left")
    left.count("left", Purpose.SPOOFED, 10, Traffic(4, 240))
    found = scrape(left)
    assert value(found, "shim_dropped_packets_total", domain="left", cause="queue_full") == 3
    assert value(found, "shim_unjudged_packets_total", domain="left", cause="ring_dropped") == 2
    assert value(found, "shim_untold_misses_total", domain="left") == 6
    assert value(found, "shim_late_departures_total", domain="left") == 1
    assert value(found, "switch_dropped_packets_total", domain="left", switch="left", cause="spoofed") == 16
    queue = {"domain": "left", "switch": "left", "interface": "left-up", "queue": "5"}
    assert (value(found, "queue_errors_packets_total", **queue), value(found, "queue_proved", **queue)) == (7, 0)


def test_clocks() -> None:
    left = driver("left")
    found = scrape(left)
    assert value(found, "clock_error_seconds", domain="left", source="same-host") == 0
    assert value(found, "clock_steps_total", domain="left") == 1
    left.hear(PeerJoined("right", is_same_host=False))
    left.hear(ClockRead(Clock(Source.PTP, 16_000, "a grandmaster")))
    left.hear(PeerClockReported("right", Clock(Source.PTP, 10_000, "a grandmaster")))
    found = scrape(left)
    assert value(found, "clock_error_seconds", domain="left", source="ptp") == pytest.approx(0.00002)
    assert value(found, "clock_difference_seconds", domain="left", peer="right") == pytest.approx(0.00003)
    assert value(found, "up", domain="left", part="clock", name="left") == 1
    left.hear(PeerClockReported("right", Clock(why="is lost")))
    found = scrape(left)
    assert value(found, "clock_difference_seconds", domain="left", peer="right") is None
    assert value(found, "up", domain="left", part="clock", name="right") == 0


def test_peers() -> None:
    left = driver("left")
    left.hear(PeeringReported("right", Link(dropped=3, refused=2, reconnects=5)), StrangersReported(7))
    found, right = scrape(left), {"domain": "left", "peer": "right"}
    counts = [value(found, f"peer_{name}_total", **right) for name in ("dropped", "refused", "reconnects")]
    assert counts == [3, 2, 5]
    assert value(found, "peer_strangers_total", domain="left") == 7


def test_states() -> None:
    left = driver("left")
    left.hear(PeerGone("right", "is not running"))
    found = scrape(left)
    states = {state: value(found, "channel_state", domain="left", state=state, **VIDEO) for state in State}
    assert [state for state, is_so in states.items() if is_so] == [State.WAITING]
    assert value(found, "ends", domain="left", state="installed") == 2
    parts = {part: value(found, "up", domain="left", part=part, name=name) for part, name in
             (("shim", "left"), ("switch", "left"), ("store", ""), ("peer", "right"))}  # fmt: skip
    assert parts == {"shim": 1, "switch": 1, "store": 1, "peer": 0}


def test_guests() -> None:
    left = driver("left")
    left.hear(
        GuestsReported({"vm1": GuestBook(requests=9, refused=2, call_ups=3, call_ups_dropped=2)}),
        MetersReported("left", {meter_id(FIRST_VM_PORT): 5}),
        ChannelsTold(NETWORK.channels, owners={"video": "guest"}),
    )
    found, vm1 = scrape(left), {"domain": "left", "vm": "vm1"}
    assert value(found, "guest_channels", **vm1) == 1
    assert value(found, "guest_requests_total", **vm1) == 9
    assert value(found, "guest_call_ups_total", **vm1) == 3
    assert value(found, "guest_call_ups_dropped_total", **vm1) == 2
    outcomes = {each: value(found, "guest_unserved_total", outcome=each, **vm1) for each in metrics.GUEST_OUTCOMES}
    assert outcomes == {"refused": 2, "busy": 0, "metered": 5, "crowded_out": 0, "malformed": 0}
    assert not any("vm2" in labels for _, labels in found)


def test_an_idle_controller_has_metrics() -> None:
    found = scrape(Driver(NETWORK, "left"))
    assert value(found, "up", domain="left", part="shim", name="left") == 0
    (build,) = [dict(labels) for name, labels in found if name == "rtvnic_build_info"]
    assert set(build) == {"version"}


def test_of_a_thousand_channels_so_many_are_shown() -> None:
    vms = vm("vm1", "left", 1), vm("vm2", "right", 2)
    many = [replace(channel(f"c{at:04}", *vms, 100 + at, FAST), src_port=1 + at) for at in range(1000)]
    made = Driver(replace(NETWORK, channels={each.name: each for each in many}), "left")
    full = books(queueing_delay=summary(1, 1), delay_up_to=[1, 1])
    made.hear(ShimReported(statistics({each.label: full for each in many}, {})))
    found = scrape(made)
    shown = {dict(labels)["channel"] for _, labels in found if "channel" in dict(labels)}
    assert shown == {f"c{at:04}" for at in range(metrics.CHANNELS_MAX)}
    assert value(found, "channels_omitted", domain="left") == 1000 - metrics.CHANNELS_MAX
    assert sum(value(found, "ends", domain="left", state=state) or 0 for state in State) == 1000


HANDLER = HandlerView.model_construct(
    domain="left", name="pager", waiting=0, **dict.fromkeys(metrics._HANDLER_COUNTERS, 0)
)
EXPORTED = {name for each in ("left", "right") for name, _ in scrape(driver(each))} | {
    sample.name for family in metrics.handler_families([HANDLER]) for sample in family.samples
}


def names_in(text: str) -> set[str]:
    return set(re.findall(r"rtvnic_[a-z_]+", text))


def test_every_metric_of_the_dashboard_exists() -> None:
    dashboard = json.loads((ROOT / "packaging/grafana/rtvnic.json").read_text())
    used = {name for panel in dashboard["panels"] for each in panel["targets"] for name in names_in(each["expr"])}
    assert len(used) > 10
    assert used <= EXPORTED


def test_every_metric_of_the_manual_exists() -> None:
    used = names_in((ROOT / "docs/operations.md").read_text())
    assert len(used) > 10
    assert used <= EXPORTED


def test_how_much_earlier_than_planned_a_channel_is_due() -> None:
    """Only of those that ask for it, at their talker's controller."""
    audio = {"domain": "left", "channel": "audio", "class": "slow"}
    made = driver("left")
    assert value(scrape(made), "channel_adapted_seconds", **audio) == 0
    made.hear(MissesReported("right", (MissReport("audio", 1, 1, 1_000_000, 1_000_000, 1, 1, 0, 10**18),)))
    assert value(scrape(made), "channel_adapted_seconds", **audio) == 0.0015
    assert value(scrape(made), "channel_adapted_seconds", domain="left", **VIDEO) is None
    assert value(scrape(driver("right")), "channel_adapted_seconds", **audio | {"domain": "right"}) is None
