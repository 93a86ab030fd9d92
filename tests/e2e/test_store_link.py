"""A controller's side of the store, with real servers: what fills an empty one, and what changes nothing."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from support.networks import FAST, channel, two_hypervisors
from support.stores import StoreServer, running
from support.waiting import Mailbox, wait_until

from controller.domain.events import ChannelsTold, Standing
from controller.domain.lifecycle import State
from controller.domain.reports import Role
from controller.errors import Conflict
from controller.model import Network, Protocol, SwitchKind
from controller.store.client import Store
from controller.store.decisions import Clerk
from controller.store.link import ANOTHER_TOPOLOGY, StoreLink
from controller.store.records import Owner, StoreBack, StoreGone
from controller.topology_file.load import parse


def network() -> Network:
    base = two_hypervisors(kind=SwitchKind.PLAIN)
    by_port = {
        name: replace(each, protocol=Protocol.UDP, dst_port=port)
        for port, (name, each) in enumerate(base.channels.items(), start=1)
    }
    return replace(base, channels=by_port)


NETWORK = network()
NEW = replace(channel("new", *NETWORK.vms.values(), 0, FAST), protocol=Protocol.UDP, dst_port=7000)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[StoreServer]:
    with running(tmp_path) as found:
        yield found


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    made = Mailbox()
    yield made
    made.close()


THREE_DOMAINS = """
version: 1
hypervisors:
  left: {uplink: {rate: 100Mbps, switch: west}}
  right: {uplink: {rate: 100Mbps, switch: east}}
  far: {uplink: {rate: 100Mbps, switch: east}}
switches: {west: plain, east: {kind: ovs, controlled_by: far}}
links: [[west, east]]
vms:
  a: {hypervisor: left, ip: 10.0.0.1}
  b: {hypervisor: right, ip: 10.0.0.2}
  c: {hypervisor: left, ip: 10.0.0.3}
channels:
  across: {from: a, to: b, deadline: 5ms, min_rate: 1Mbps}
  local: {from: a, to: c, deadline: 5ms, min_rate: 1Mbps}
"""


def linked(server: StoreServer, mailbox: Mailbox, of: Network = NETWORK, domain: str = "left") -> StoreLink:
    link = StoreLink(of, domain, server.remote, mailbox.post)
    link.start()
    return link


def test_an_empty_store_gets_the_channels_of_the_file(server: StoreServer, mailbox: Mailbox) -> None:
    linked(server, mailbox)
    told = mailbox.next()
    assert isinstance(told, ChannelsTold)
    assert list(told.channels) == ["audio", "video"]
    for name, found in told.channels.items():
        assert found == replace(NETWORK.channels[name], label=found.label)
    assert told.owners == dict.fromkeys(told.channels, "file")
    assert set(told.versions.values()) == {1}
    assert told.slacks_ns == {"left": 2_000_000, "right": 2_000_000}
    assert told.bounds is not None and set(told.bounds) == {("middle", "right")}


def test_two_controllers_fill_it_once(server: StoreServer, mailbox: Mailbox) -> None:
    links = [linked(server, mailbox, domain=domain) for domain in ("left", "right")]
    first, second = mailbox.next(), mailbox.next()
    assert first == second and isinstance(first, ChannelsTold)
    assert links[0].read().revision == 1


def test_what_the_store_has_counts_and_not_the_file(
    server: StoreServer, mailbox: Mailbox, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    with Store(server.remote, NETWORK.classes) as store:
        store.change(Clerk(NETWORK).apply({"video": NETWORK.channels["video"]}))
    linked(server, mailbox)
    told = mailbox.next()
    assert isinstance(told, ChannelsTold) and list(told.channels) == ["video"]
    wait_until(lambda: "the store keeps other channels than two_hypervisors.yaml" in caplog.text)
    assert mailbox.is_empty


def test_a_change_is_told_to_whom_it_concerns(server: StoreServer, mailbox: Mailbox) -> None:
    link = linked(server, mailbox)
    mailbox.next()
    link.change(link.clerk.put(NEW, Owner.REST))
    told = mailbox.next()
    assert isinstance(told, ChannelsTold)
    assert (told.owners["new"], told.versions["new"]) == ("rest", 2)


def test_a_domain_hears_of_a_channel_that_only_crosses_a_switch_of_it(server: StoreServer, mailbox: Mailbox) -> None:
    linked(server, mailbox, parse(THREE_DOMAINS.encode(), Path("net.yaml")), domain="far")
    told = mailbox.next()
    assert isinstance(told, ChannelsTold) and list(told.channels) == ["across"]


def test_a_store_of_another_topology_is_trouble_and_tells_no_channels(server: StoreServer, mailbox: Mailbox) -> None:
    other = replace(NETWORK, classes=(replace(NETWORK.classes[0], dscp=1), NETWORK.classes[1]))
    with Store(server.remote, other.classes) as store:
        store.change(Clerk(other).apply(other.channels))
    linked(server, mailbox)
    assert mailbox.next() == StoreGone(ANOTHER_TOPOLOGY)
    assert mailbox.is_empty
    server.kill()
    assert mailbox.next() != StoreGone(ANOTHER_TOPOLOGY)
    server.start()
    assert mailbox.next() == StoreGone(ANOTHER_TOPOLOGY), "it is that of another still"


def test_a_topology_that_is_brought_to_the_store_is_that_of_controllers_started_with_it(
    server: StoreServer, mailbox: Mailbox
) -> None:
    """One that runs, with the former file, leaves all as it is."""
    other = replace(NETWORK, classes=(replace(NETWORK.classes[0], dscp=1), NETWORK.classes[1]))
    former = linked(server, mailbox)
    assert isinstance(mailbox.next(), ChannelsTold)
    with Store(server.remote, other.classes) as store:
        store.change(Clerk(other).apply(other.channels, may_change_topology=True))
    assert mailbox.next() == StoreGone(ANOTHER_TOPOLOGY)
    with pytest.raises(Conflict, match="--new-topology"):
        former.change(former.clerk.put(NEW, Owner.REST))
    later = Mailbox()
    linked(server, later, of=other)
    assert set(later.next().channels) == {"audio", "video"}
    later.close()


def test_a_store_that_dies_is_gone_and_comes_back_without_a_change(server: StoreServer, mailbox: Mailbox) -> None:
    linked(server, mailbox)
    mailbox.next()
    server.kill()
    assert isinstance(mailbox.next(), StoreGone)
    server.start()
    assert mailbox.next() == StoreBack()
    assert mailbox.is_empty


def test_ends_are_written_back(server: StoreServer, mailbox: Mailbox) -> None:
    link = linked(server, mailbox)
    mailbox.next()
    link.tell(
        [
            Standing("video", Role.TALKER, State.INSTALLED, "", 1),
            Standing("audio", Role.LISTENER, State.WAITING, "no", 1),
        ]
    )
    link.tell([Standing("video", Role.LISTENER, State.INSTALLED, "", 4711)])
    wait_until(lambda: link.read().records["video"].talker.state == "installed")
    wait_until(lambda: link.read().records["audio"].listener.state == "waiting")
    records = link.read().records
    assert records["audio"].listener.reason == "no"
    assert records["video"].listener.state == "", "of a version that is not the store's"
