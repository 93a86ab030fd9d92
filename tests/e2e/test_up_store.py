"""A network on a channel store that was there before it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from support.examples import example
from support.stores import running

from controller.store.client import Store
from controller.store.decisions import Clerk
from controller.store.records import Owner
from topologies.testbed import Testbed


def test_it_goes_on_with_the_channels_that_the_store_has(tmp_path: Path) -> None:
    """Whatever its file says; and leaves them there."""
    network = example("one_channel")
    (video,) = network.channels.values()
    with running(tmp_path) as server, Store(server.remote, network.classes) as store:
        clerk = Clerk(network)
        store.change(clerk.apply({}))
        store.change(clerk.put(replace(video, name="kept"), Owner.REST))
        with Testbed(network, store=server.remote) as testbed:
            testbed.await_channels()
            assert {name: channel["state"] for name, channel in testbed.channels().items()} == {"kept": "installed"}
        assert set(store.read().records) == {"kept"}
