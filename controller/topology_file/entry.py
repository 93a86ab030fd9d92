"""One channel as an entry of a topology file, for a network that is known: what REST and the command line are given.

Pure. Keys, values, rules and messages are those of a file; instead of a line, a problem has the entry's key.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from controller.errors import PROBLEMS_MAX, InvalidChannel
from controller.model import Bypass, Channel, Excess, Late, Network, Vm
from controller.topology_file import build
from controller.topology_file.rules import CHANNEL_RULES, Draft
from controller.topology_file.schema import File, validate
from controller.topology_file.source import Finding, one_line, path_text

NO_LABEL = 0
"""Of a channel that the store has not seen: the store gives it one."""


class ChannelReader:
    """Reads entries of channels between the VMs and hosts of `network`."""

    def __init__(self, network: Network) -> None:
        self._classes = network.classes
        declared = _declared(network)
        self._form = File.model_validate(declared)
        self._data = {**declared, "handlers": dict.fromkeys(network.handlers)}  # channels name them, and no more

    def channel(self, name: str, entry: Mapping[str, Any]) -> Channel:
        """The channel `name`, without a label. Raises InvalidChannel with all that is wrong with `entry`."""
        name = _tamed(name)
        channels = {name: {_tamed(key): _tamed(value) for key, value in entry.items()}}
        found, findings = validate({"version": 1, "hypervisors": {}, "channels": channels})
        form = self._form.model_copy(update={"channels": found.channels})
        draft = Draft(form, {**self._data, "channels": channels})
        findings += [finding for rule in CHANNEL_RULES for finding in rule(draft)]
        if findings:
            raise InvalidChannel([_problem(finding) for finding in findings[:PROBLEMS_MAX]])
        channel = build.channel(name, NO_LABEL, form.channels[name], form, self._classes)
        return replace(channel, on_miss=tuple(sorted(set(channel.on_miss))))


def entry_of(channel: Channel) -> dict[str, Any]:
    """What declares `channel` with nothing left to defaults."""
    return {
        "from": channel.talker,
        "to": channel.listener,
        "deadline": f"{channel.deadline_ns}ns",
        "min_rate": f"{channel.rate_bps}bps",
        "burst": f"{channel.burst_bytes}B",
        "packet": f"{channel.packet_bytes}B",
        "excess": str(channel.excess),
        "late": str(channel.late),
        "on_bypass": str(channel.on_bypass),
        "ip_version": channel.source.version,
        "on_miss": list(channel.on_miss),
        **({"protocol": str(channel.protocol)} if channel.protocol else {}),
        **({"src_port": channel.src_port} if channel.src_port else {}),
        **({"dst_port": channel.dst_port} if channel.dst_port else {}),
    }


def short_entry_of(channel: Channel, network: Network) -> dict[str, Any]:
    """What declares `channel` in `network` in few words: what is so by default is left out."""
    defaults = {
        "burst": f"{build.default_burst_bytes(channel.rate_bps)}B",
        "packet": f"{build.default_packet_bytes(channel.source.version)}B",
        "excess": Excess.POSTPONE,
        "late": Late.DEMOTE,
        "on_bypass": Bypass.PASS,
        "ip_version": _only_version(network.vms.get(channel.talker)),
        "on_miss": ["log"],
    }
    return {key: value for key, value in entry_of(channel).items() if key not in defaults or value != defaults[key]}


def _only_version(talker: Vm | None) -> int | None:
    """Of the IP addresses that a talker has; None where there are two, and an entry has to say which."""
    versions = {address.version for address in talker.addresses} if talker else set()
    return versions.pop() if len(versions) == 1 else None


def merged(entry: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    """`entry` after `patch` (RFC 7396): a key that is null is left to its default."""
    return {key: value for key, value in {**entry, **patch}.items() if value is not None}


def _tamed(value: Any) -> Any:
    """`value` without what no entry has and no message shows: what is nested deeper, and halves of characters."""
    match value:
        case str():
            return value.encode("utf-8", "replace").decode("utf-8")
        case dict():
            return {}
        case list():
            return [[] if isinstance(each, list) else _tamed(each) for each in value]
        case _:
            return value


def _declared(network: Network) -> dict[str, Any]:
    """What a file would say of the network, as far as channels have to do with it."""
    return {
        "version": 1,
        "hypervisors": {name: {"uplink": f"{each.uplink.rate_bps}bps"} for name, each in network.hypervisors.items()},
        "vms": {
            name: {"hypervisor": vm.hypervisor, "ip": list(map(str, vm.addresses))} for name, vm in network.vms.items()
        },
        "hosts": {name: {"ip": list(map(str, host.addresses))} for name, host in network.hosts.items()},
        "classes": {
            each.name: {"queue": each.queue_id, "dscp": each.dscp, "up_to": f"{each.up_to_ns}ns"}
            for each in network.classes
        },
    }


def _problem(finding: Finding) -> tuple[str, str]:
    is_of_name = len(finding.place) == 2 and finding.at_key
    return "name" if is_of_name else one_line(path_text(finding.place[2:])), one_line(finding.message)
