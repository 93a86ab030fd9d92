"""Whatever a person writes, the answer is a Network or InvalidFile with positions inside the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from hypothesis import given
from hypothesis import strategies as st

from controller.errors import InvalidFile
from controller.model import Network
from controller.topology_file.load import parse

WORDS = ["left", "right", "core", "a", "b", "c", "5ms", "5", "2Mbps", "100Mbps", "10.0.0.1", "10.0.0.2/24", "fd00::1"]
WORDS += ["plain", "ovs", "udp", "log", "off", "1:30", "", "é", "\x1b", "[key]", "<<"]
KEYS = ["uplink", "rate", "be_slack", "switch", "controller", "address", "rest_port", "kind", "controlled_by", "ip"]
KEYS += ["hypervisor", "mac", "from", "to", "deadline", "min_rate", "protocol", "src_port", "dst_port", "on_miss"]
KEYS += ["queue", "dscp", "up_to", "interface", "left", "a", "b"]
SECTIONS = ["version", "hypervisors", "switches", "links", "vms", "classes", "channels"]

scalars = st.sampled_from(WORDS) | st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
parts: st.SearchStrategy[Any] = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS) | scalars, inner, max_size=5),
    max_leaves=12,
)
entries = st.dictionaries(st.sampled_from(["left", "right", "core", "a", "b"]), parts, max_size=3)
files = st.dictionaries(st.sampled_from(SECTIONS), entries | parts, max_size=7)

VALID = {
    "version": 1,
    "hypervisors": {"left": {"uplink": "100Mbps"}, "right": {"uplink": {"rate": "1Gbps", "switch": "core"}}},
    "switches": {"core": "plain", "edge": {"kind": "ovs", "controlled_by": "left"}},
    "links": [["core", "edge"]],
    "vms": {"a": {"hypervisor": "left", "ip": "10.0.0.1"}, "b": {"hypervisor": "right", "ip": ["10.0.0.2", "fd00::2"]}},
    "classes": {"all": {"queue": 1, "dscp": 10, "up_to": "1s"}},
    "channels": {"c": {"from": "a", "to": "b", "deadline": "5ms", "min_rate": "2Mbps", "protocol": "udp"}},
}


def judge(content: bytes) -> None:
    try:
        assert isinstance(parse(content, Path("net.yaml")), Network)
    except InvalidFile as error:
        assert error.problems
        last_line = len(content.decode(errors="replace").splitlines()) + 1
        for problem in error.problems:
            assert 1 <= problem.line <= last_line and problem.column >= 1
            assert problem.text("net.yaml").isprintable()
            assert not any(word in problem.message for word in ("Input should", "dict", "NoneType", "pydantic"))


def places(data: Any, place: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """All places in `data`, its own included."""
    inner = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    return [place, *(found for key, value in inner for found in places(value, (*place, key)))]


def replaced(data: Any, place: tuple[Any, ...], value: Any) -> Any:
    """A copy of `data` with `value` at `place`."""
    if not place:
        return value
    copy = data.copy()
    copy[place[0]] = replaced(data[place[0]], place[1:], value)
    return copy


@given(st.binary())
def test_any_bytes(content: bytes) -> None:
    judge(content)


@given(st.text())
def test_any_text(text: str) -> None:
    judge(text.encode())


@given(st.text(alphabet="ab:-{}[]&*!|>'\"#%@,? \n\t019<", max_size=60))
def test_any_text_of_yaml_characters(text: str) -> None:
    judge(b"version: 1\n" + text.encode())


@given(files)
def test_any_structure(data: Any) -> None:
    judge(yaml.safe_dump(data, allow_unicode=True, sort_keys=False).encode())


@given(st.sampled_from(places(VALID)), parts)
def test_a_valid_file_with_one_part_replaced(place: tuple[Any, ...], value: Any) -> None:
    judge(yaml.safe_dump(replaced(VALID, place, value), sort_keys=False).encode())
