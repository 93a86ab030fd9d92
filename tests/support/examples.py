"""The example topology files, and every network that the tests of flows go through."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

from support.networks import two_hypervisors

from controller.model import Network, Protocol, Scheduler, SwitchKind
from controller.topology_file.load import load

TOPOLOGIES = Path(__file__).parents[2] / "topologies"
FILES = sorted(TOPOLOGIES.glob("*.yaml"))


@cache
def example(name: str, scheduler: Scheduler = Scheduler.EDF) -> Network:
    return load(TOPOLOGIES / f"{name}.yaml").with_scheduler(scheduler)


@cache
def all_networks(scheduler: Scheduler) -> dict[str, Network]:
    """By a name for messages: each example file, and the small networks of `support.networks`."""
    made = {f"two_{kind}": distinct(two_hypervisors(scheduler, kind)) for kind in SwitchKind}
    return {file.stem: example(file.stem, scheduler) for file in FILES} | made


def distinct(network: Network) -> Network:
    """`two_hypervisors` with an `audio` that is UDP to port 5004, so that `video` takes what is left."""
    audio = replace(network.channels["audio"], protocol=Protocol.UDP, dst_port=5004)
    return replace(network, channels=network.channels | {"audio": audio})
