"""What marked frames prove of queues, in a network of their own without Open vSwitch. Needs root."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator, Mapping

import pytest

from bench.network import add_veth, private_network
from controller.domain.events import Proof
from ovs_config.filters import MARKS, Mark, add_possible_filters
from ovs_config.plan import BEST_EFFORT_QUEUE
from ovs_config.probe import probe_port
from rtvnic.doctor import SCRATCH_QUEUE, build_queues, scratch_plan

PORT = "near"


@pytest.fixture
def probe() -> Iterator[Callable[[], Mapping[int, Proof]]]:
    """Tries best effort and one class at PORT, which has all filters."""
    plan, qos = scratch_plan(PORT)
    with private_network() as ip:
        add_veth(ip, PORT, "far")
        build_queues(ip, PORT, qos)
        add_possible_filters(ip, plan)
        yield lambda: probe_port(ip, PORT, qos)


def filters(words: str) -> None:
    verb, rest = words.split(maxsplit=1)
    subprocess.run(["tc", "filter", verb, "dev", PORT, "parent", "1:", *rest.split()], check=True)


def test_queues_that_work_are_proved(probe: Callable[[], Mapping[int, Proof]]) -> None:
    assert probe() == {BEST_EFFORT_QUEUE: Proof.PROVED, SCRATCH_QUEUE: Proof.PROVED}


@pytest.mark.parametrize("lost", MARKS.values(), ids=lambda mark: mark.name)
def test_a_class_that_lacks_one_of_its_filters_is_not_proved(
    probe: Callable[[], Mapping[int, Proof]], lost: Mark
) -> None:
    filters(f"del pref {lost.preference}")
    assert probe() == {BEST_EFFORT_QUEUE: Proof.PROVED, SCRATCH_QUEUE: Proof.NOT_PROVED}


def test_best_effort_that_goes_to_a_class_is_not_proved(probe: Callable[[], Mapping[int, Proof]]) -> None:
    filters(f"add pref 9 protocol all u32 match u32 0 0 flowid 1:{SCRATCH_QUEUE + 1}")
    assert probe() == {BEST_EFFORT_QUEUE: Proof.NOT_PROVED, SCRATCH_QUEUE: Proof.PROVED}
