"""Every rule of a topology file, by the exact words that it is refused with: the cases are in `problems.txt`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from controller.errors import InvalidFile
from controller.topology_file.load import parse

CASES = Path(__file__).with_name("problems.txt")
SECTIONS = {
    "version": "version: 1",
    "hypervisors": "hypervisors: {left: {uplink: 100Mbps}, right: {uplink: 100Mbps}}",
    "vms": "vms: {a: {hypervisor: left, ip: 10.0.0.1}, b: {hypervisor: right, ip: 10.0.0.2}}",
}


def cases() -> Iterator[tuple[str, list[str]]]:
    """The text of each case with the sections that it leaves to SECTIONS, and the problems expected of it."""
    for block in CASES.read_text().strip().split("\n\n"):
        lines = [line for line in block.splitlines() if not line.startswith("#")]
        given = {line.partition(":")[0]: line for line in lines if not line.startswith(" ")}
        if lines:
            yield "\n".join((SECTIONS | given).values()), [line.strip() for line in lines if line.startswith(" ")]


@pytest.mark.parametrize(("text", "expected"), cases())
def test_is_refused_with(text: str, expected: list[str]) -> None:
    with pytest.raises(InvalidFile) as refused:
        parse(text.encode(), Path("net.yaml"))
    assert str(refused.value).splitlines() == [f"net.yaml:{problem}" for problem in expected]


def test_the_sections_alone_are_valid() -> None:
    network = parse("\n".join(SECTIONS.values()).encode(), Path("net.yaml"))
    assert list(network.hypervisors) == ["left", "right"]
