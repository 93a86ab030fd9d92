"""Topology files as topologies of Mininet's own `mn`."""

from __future__ import annotations

from pathlib import Path

import networkx as nx
import pytest
from support.examples import FILES, TOPOLOGIES, example

from controller.errors import InvalidFile
from topologies.mn import topos


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_example_becomes_one_tree(file: Path) -> None:
    """Mininet's switches block nothing, so a loop would be a storm."""
    topo = topos["rtvnic"](str(file))
    graph = nx.MultiGraph(topo.links())
    assert nx.is_tree(graph)
    assert set(graph) == set(topo.hosts()) | set(topo.switches())


def test_nodes_are_those_of_the_file() -> None:
    network = example("two_hypervisors")
    topo = topos["rtvnic"](str(TOPOLOGIES / "two_hypervisors.yaml"))
    assert set(topo.hosts()) == set(network.vms)
    assert set(topo.switches()) == {*network.hypervisors, *network.switches}
    sensor = topo.nodeInfo("sensor")
    assert (sensor["ip"], sensor["mac"]) == ("10.0.0.2/24", network.vms["sensor"].mac)
    assert int(topo.nodeInfo("left")["dpid"], 16) == network.datapath_id("left")


def test_an_invalid_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "empty.yaml"
    file.write_text("version: 1\n")
    with pytest.raises(InvalidFile, match="hypervisors"):
        topos["rtvnic"](str(file))
