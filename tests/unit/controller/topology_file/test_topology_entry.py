"""One channel read as an entry of a file: what the file would make of it, and the file's own words about problems."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from support.examples import FILES, example

from controller.errors import InvalidChannel
from controller.handlers.declared import Handler, Program
from controller.model import Late
from controller.topology_file.entry import NO_LABEL, ChannelReader, entry_of, merged, short_entry_of

NETWORK = example("two_hypervisors")
ENTRY = {"from": "camera", "to": "screen", "deadline": "5ms", "min_rate": "2Mbps"}


def problems(entry: Any, name: str = "new") -> dict[str, str]:
    with pytest.raises(InvalidChannel) as error:
        ChannelReader(NETWORK).channel(name, entry)
    return dict(error.value.problems)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_channel_of_an_example_is_what_its_entry_says(file: Any) -> None:
    network = example(file.stem)
    reader = ChannelReader(network)
    for channel in network.channels.values():
        assert reader.channel(channel.name, entry_of(channel)) == replace(channel, label=NO_LABEL)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_short_entry_says_the_same(file: Any) -> None:
    network = example(file.stem)
    reader = ChannelReader(network)
    for channel in network.channels.values():
        entry = short_entry_of(channel, network)
        assert reader.channel(channel.name, entry) == replace(channel, label=NO_LABEL)


def test_a_short_entry_leaves_defaults_out() -> None:
    channel = ChannelReader(NETWORK).channel("new", ENTRY)
    wanted = {"from": "camera", "to": "screen", "deadline": "5000000ns", "min_rate": "2000000bps"}
    assert {key: short_entry_of(channel, NETWORK)[key] for key in wanted} == wanted
    assert short_entry_of(channel, NETWORK).keys() - wanted.keys() <= {"ip_version"}
    special = replace(channel, burst_bytes=9000, packet_bytes=99, late=Late.DROP, on_miss=("adapt", "log"))
    more = {"burst": "9000B", "packet": "99B", "late": "drop", "on_miss": ["adapt", "log"]}
    assert short_entry_of(special, NETWORK).items() >= more.items()


def test_defaults_are_those_of_a_file() -> None:
    channel = ChannelReader(NETWORK).channel("new", ENTRY)
    assert (channel.burst_bytes, channel.packet_bytes, channel.excess, channel.on_miss) == (
        3092,
        1472,
        "postpone",
        ("log",),
    )
    assert channel.deadline_class.takes(5_000_000)


def test_all_problems_are_told_at_once_in_the_words_of_a_file() -> None:
    entry = {"from": "camra", "to": "screen", "deadline": "5", "min_rate": "2Mbps", "colour": "red", "dst_port": "x"}
    assert problems(entry) == {
        "from": "no VM is called 'camra'; did you mean 'camera'?",
        "deadline": "'5' has no unit; write 5ms or 500us",
        "dst_port": "'x' is not a whole number from 1 to 65535",
        "colour": "'colour' is not a key here; allowed: from, to, deadline, min_rate, burst, packet, excess, late, ...",
    }


@pytest.mark.parametrize(
    ("change", "key", "words"),
    [
        ({"to": "camera"}, "to", "'camera' is the talker too"),
        ({"dst_port": 5004}, "dst_port", "'dst_port' needs a protocol"),
        ({"ip_version": 6}, "", "'camera' and 'screen' have no IPv6 addresses in one network"),
        ({"deadline": "6s"}, "deadline", "out of range"),
        (
            {"from": "sensor", "to": "plant", "packet": "1472B", "ip_version": 6},
            "packet",
            "do not fit into a packet of",
        ),
    ],
)
def test_what_an_entry_must_be_to_the_network(change: dict[str, Any], key: str, words: str) -> None:
    assert words in problems(ENTRY | change)[key]


@pytest.mark.parametrize("name", ["", "Camera", "a" * 64, "ü"])
def test_a_name_is_checked_too(name: str) -> None:
    assert set(problems(ENTRY, name)) == {"name"}


def test_words_are_fit_for_one_line() -> None:
    assert problems({**ENTRY, "to": "\ud800\n"})["to"].startswith("no VM or host is called '?\\x0a'")
    assert problems({**ENTRY, "deadline": "\ud800"}) == {"deadline": "'?' is not a duration; write 5ms or 500us"}


def test_values_may_be_nested_to_any_depth() -> None:
    nested: Any = {}
    for _ in range(100_000):
        nested = [{"a": nested}]
    assert problems({**ENTRY, "excess": nested, "to": nested}) == {
        "excess": "a list is not possible here; allowed: postpone, drop",
        "to": "a list is not a name; write a name that the file declares",
    }


def test_a_handler_is_named_and_never_declared() -> None:
    """Who may ask for a channel does not choose what runs."""
    pager = Handler("pager", Program(("/bin/true",)), every_ns=1, timeout_ns=1)
    reader = ChannelReader(replace(NETWORK, handlers={"pager": pager}))
    assert reader.channel("new", {**ENTRY, "on_miss": ["pager", "log"]}).on_miss == ("log", "pager")
    assert problems({**ENTRY, "on_miss": "pager"}) == {
        "on_miss": "no handler is called 'pager'; allowed: log, guest, adapt"
    }
    assert "on_miss[0]" in problems({**ENTRY, "on_miss": {"exec": ["/bin/true"]}})
    assert "handlers" in problems({**ENTRY, "handlers": {}})


def test_a_patch_changes_what_it_names_and_null_leaves_to_the_default() -> None:
    entry = entry_of(NETWORK.channels["control"])
    after = ChannelReader(NETWORK).channel("control", merged(entry, {"deadline": "7ms", "dst_port": None}))
    assert after == replace(
        NETWORK.channels["control"],
        label=NO_LABEL,
        deadline_ns=7_000_000,
        deadline_class=after.deadline_class,
        dst_port=None,
    )
    assert after.deadline_class.takes(7_000_000)
