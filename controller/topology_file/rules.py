"""What the parts of a topology file must be to each other. Each rule yields what it finds; none stops another.

The form rules work on the valid entries of a file that may have invalid ones too (`Draft`), so that one run finds as
much as can be known. The network rules need the whole network.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

from controller.admission.advice import refusal_texts
from controller.admission.guarantee import Guarantees
from controller.admission.paths import Port
from controller.handlers.declared import BUILT_IN
from controller.model import UDP_BYTES, VM_MTU, IpInterface, Network, SwitchKind
from controller.network.routing import loops_of_plain_switches, unreachable_ends
from controller.network.selectors import Selector, clashes
from controller.network.wiring import PortRole, ports_of, shim_interface
from controller.topology_file.build import common_addresses, deadline_classes, endpoint, host_mac, vm_mac
from controller.topology_file.fields import suggestion
from controller.topology_file.schema import ChannelForm, File, HostForm, VmForm
from controller.topology_file.source import Finding, Place, path_text
from controller.units import DURATION

Findings = Iterator[Finding]

_REFERENCES: Mapping[Place, tuple[str, str]] = {
    ("hypervisors", "*", "uplink", "switch"): ("switches", "switch"),
    ("switches", "*", "controlled_by"): ("hypervisors", "hypervisor"),
    ("links", "*", 0): ("switches", "switch"),
    ("links", "*", 1): ("switches", "switch"),
    ("vms", "*", "hypervisor"): ("hypervisors", "hypervisor"),
    ("hosts", "*", "switch"): ("switches", "switch"),
    ("channels", "*", "from"): ("vms", "VM"),
    ("channels", "*", "to"): ("vms hosts", "VM or host"),
}
"""Where the file mentions a name; the sections that declare it, and what is declared there."""


@dataclass(frozen=True)
class Draft:
    """A file on its way: `form` has its valid entries, `data` all of them as they were written."""

    form: File
    data: Mapping[str, Any]

    def names(self, section: str) -> tuple[str, ...] | None:
        """All names that `section` declares, in the order of the file; None if the section cannot be read."""
        entries = self.data.get(section, getattr(self.form, section))
        return tuple(entries) if isinstance(entries, dict) else None

    def listener(self, channel: ChannelForm) -> VmForm | HostForm | None:
        """The channel's, if it is valid."""
        return self.form.vms.get(channel.listener) or self.form.hosts.get(channel.listener)

    def addresses(self, channel: ChannelForm) -> tuple[IpInterface, IpInterface] | None:
        """What `common_addresses` finds for the channel; None too if an end of it is not valid."""
        talker, listener = self.form.vms.get(channel.talker), self.listener(channel)
        return common_addresses(talker, listener, channel.ip_version) if talker and listener else None


def hypervisor_exists(draft: Draft) -> Findings:
    if draft.data.get("hypervisors") == {}:
        yield Finding(("hypervisors",), "no hypervisor is declared; write one, such as left: {uplink: 100Mbps}")


def node_names(draft: Draft) -> Findings:
    """All nodes share one set of names. The default switch comes first: it cannot be renamed."""
    sections = sorted(("hypervisors", "switches", "vms", "hosts"), key=lambda section: section in draft.data)
    items = [(name, (section, name)) for section in sections for name in draft.names(section) or ()]
    for place, name, first in _repeated(items):
        yield Finding(place, f"the name '{name}' is taken by {_owner(first)}; choose another", at_key=True)


def references(draft: Draft) -> Findings:
    """Every name that the file mentions is declared. Reads the data as written: invalid entries mention names too."""
    for pattern, (sections, what) in _REFERENCES.items():
        declared = [draft.names(section) for section in sections.split()]
        names = None if None in declared else tuple(name for section in declared for name in section or ())
        for place, name in _matching(draft.data, pattern):
            if names is not None and isinstance(name, str) and name not in names:
                yield Finding(place, f"no {what} is called '{name}'; {suggestion(name, names)}")


def uplink_switches(draft: Draft) -> Findings:
    switches = draft.names("switches")
    for name, hypervisor in draft.form.hypervisors.items():
        if hypervisor.uplink.switch is None and switches is not None and len(switches) != 1:
            message = f"add 'switch', the switch that it leads to; {suggestion('', switches)}"
            yield Finding(("hypervisors", name, "uplink"), message)
    for name, host in draft.form.hosts.items():
        if host.switch is None and switches is not None and len(switches) != 1:
            yield Finding(("hosts", name), f"add 'switch', the switch that it is at; {suggestion('', switches)}")


def switch_controllers(draft: Draft) -> Findings:
    for name, switch in draft.form.switches.items():
        if switch.controlled_by is not None and switch.kind is SwitchKind.PLAIN:
            message = "a plain switch has no controller; remove 'controlled_by', or write kind: ovs"
            yield Finding(("switches", name, "controlled_by"), message)


def link_ends(draft: Draft) -> Findings:
    for index, ends in enumerate(entry[:2] for entry in draft.form.links):
        if ends[0] == ends[1]:
            yield Finding(("links", index), f"this links '{ends[0]}' to itself; write two different switches")
    items = [(frozenset(entry[:2]), ("links", index)) for index, entry in enumerate(draft.form.links)]
    for place, _, first in _repeated(items):
        yield Finding(place, f"the same two switches are linked by {path_text(first)}; remove one of the links")


def vm_addresses(draft: Draft) -> Findings:
    """No two VMs or hosts have an IP or MAC address in common."""
    ends: list[tuple[Place, VmForm | HostForm]] = [(("vms", name), vm) for name, vm in draft.form.vms.items()]
    ends += [(("hosts", name), host) for name, host in draft.form.hosts.items()]
    ips = [(address.ip, (*place, "ip", index)) for place, end in ends for index, address in enumerate(end.ip)]
    macs = [(mac, (*place, "mac")) for place, mac in _macs(draft)]
    for place, address, first in _repeated([*ips, *macs]):
        yield Finding(place, f"the address {address} is taken by {_owner(first)}; each needs its own")


def _macs(draft: Draft) -> Iterator[tuple[Place, str]]:
    """Of the valid VMs and hosts, numbered as the file has them."""
    for index, name in enumerate(draft.names("vms") or ()):
        if name in draft.form.vms:
            yield ("vms", name), vm_mac(draft.form.vms[name], index)
    for index, name in enumerate(draft.names("hosts") or ()):
        if name in draft.form.hosts:
            yield ("hosts", name), host_mac(draft.form.hosts[name], index)


def controller_ports(draft: Draft) -> Findings:
    """No two servers listen on one address and port."""
    order = {name: index for index, name in enumerate(draft.names("hypervisors") or ())}
    items: list[tuple[Any, Place]] = []
    for name, hypervisor in draft.form.hypervisors.items():
        listens = endpoint(hypervisor.controller, order[name])
        for key in ("openflow_port", "rest_port", "peering_port"):
            items.append(((listens.address, getattr(listens, key)), ("hypervisors", name, "controller", key)))
    for place, (address, port), first in _repeated(items):
        yield Finding(place, f"{place[-1]} {port} of {address} is taken by {path_text(first)}; each needs its own")


def controller_addresses(draft: Draft) -> Findings:
    """Whoever may reach a controller from another machine must prove who he is."""
    for name, hypervisor in draft.form.hypervisors.items():
        address = hypervisor.controller.address
        if draft.form.tls is None and "tls" not in draft.data and not ip_address(address).is_loopback:
            place = ("hypervisors", name, "controller", "address")
            yield Finding(place, f"{address} can be reached from other machines; add 'tls: pki', and see: rtvnic pki")


def class_values(draft: Draft) -> Findings:
    """No two classes have a queue, a DSCP or a bound in common."""
    for key, show in (("queue", str), ("dscp", str), ("up_to", DURATION.format)):
        items = [(getattr(entry, key), ("classes", name, key)) for name, entry in draft.form.classes.items()]
        for place, value, first in _repeated(items):
            yield Finding(place, f"{show(value)} is taken by {_owner(first)}; each class needs its own")


def channel_ends(draft: Draft) -> Findings:
    for name, channel in draft.form.channels.items():
        if channel.talker == channel.listener:
            yield Finding(("channels", name, "to"), f"'{channel.listener}' is the talker too; write another VM")


def channel_ports(draft: Draft) -> Findings:
    for name, channel in draft.form.channels.items():
        for key in ("src_port", "dst_port"):
            if getattr(channel, key) is not None and channel.protocol is None:
                yield Finding(("channels", name, key), f"'{key}' needs a protocol; add protocol: udp or protocol: tcp")


def channel_deadlines(draft: Draft) -> Findings:
    """A class takes every deadline. Judged only when all classes are valid."""
    if len(draft.names("classes") or ()) != len(draft.form.classes):
        return
    longest = deadline_classes(draft.form.classes)[-1]
    for name, channel in draft.form.channels.items():
        if channel.deadline > longest.up_to_ns:
            found, allowed = DURATION.format(channel.deadline), DURATION.format(longest.up_to_ns)
            yield Finding(
                ("channels", name, "deadline"),
                f"no class takes {found}; allowed: up to {allowed} (class '{longest.name}')",
            )


def channel_addresses(draft: Draft) -> Findings:
    """Talker and listener have addresses in one IP network: nothing here routes between two."""
    for name, channel in draft.form.channels.items():
        ends = (channel.talker, channel.listener)
        is_valid = channel.talker in draft.form.vms and draft.listener(channel) is not None
        if is_valid and draft.addresses(channel) is None:
            kind = f"IPv{channel.ip_version} " if channel.ip_version else ""
            message = f"'{ends[0]}' and '{ends[1]}' have no {kind}addresses in one network; give them such addresses"
            yield Finding(("channels", name), message)


def channel_packets(draft: Draft) -> Findings:
    """A packet of the size that the channel says fits into what a VM may send."""
    for name, channel in draft.form.channels.items():
        if (addresses := draft.addresses(channel)) is None or channel.packet is None:
            continue
        version = addresses[0].version
        if channel.packet > (most := VM_MTU - UDP_BYTES[version]):
            message = f"{channel.packet}B do not fit into a packet of IPv{version}; allowed: up to {most}B"
            yield Finding(("channels", name, "packet"), message)


def channel_selectors(draft: Draft) -> Findings:
    """Where a packet could belong to two channels, one of them is the more specific one."""
    found = [
        (name, Selector(*addresses, channel.protocol, channel.src_port, channel.dst_port))
        for name, channel in draft.form.channels.items()
        if channel.talker != channel.listener and (addresses := draft.addresses(channel))
    ]
    for clash in clashes(found):
        yield Finding(("channels", clash.name), str(clash))


def miss_handlers(draft: Draft) -> Findings:
    """Every handler that a channel names is built in, or declared. Reads the data as written."""
    if (declared := draft.names("handlers")) is None:
        return
    known = (*BUILT_IN, *declared)
    for place, value in _matching(draft.data, ("channels", "*", "on_miss")):
        named = (
            [((*place, index), name) for index, name in enumerate(value)]
            if isinstance(value, list)
            else [(place, value)]
        )
        for where, name in named:
            if isinstance(name, str) and name not in known:
                yield Finding(where, f"no handler is called '{name}'; {suggestion(name, known)}")


def interface_names(network: Network) -> Findings:
    """No two interfaces of the machine have one name: bridges, ports, and the shims' own."""
    items: list[tuple[str, Place]] = [(name, ("switches", name)) for name in network.switches]
    items += [(port.interface, ("switches", name)) for name in network.switches for port in ports_of(network, name)]
    for name in network.hypervisors:
        items += [(name, ("hypervisors", name)), (shim_interface(name), ("hypervisors", name))]
        for port in ports_of(network, name):
            places = {PortRole.VM: ("vms", port.peer), PortRole.UPLINK: ("hypervisors", name, "uplink")}
            items.append((port.interface, (*places.get(port.role, ("hypervisors", name)), "interface")))
    for place, interface, first in _repeated(items):
        yield Finding(place, f"the interface name '{interface}' is taken by {_owner(first)}; choose another name")


def plain_loops(network: Network) -> Findings:
    for loop in loops_of_plain_switches(network):
        last = max(index for index, link in enumerate(network.links) if set(link.ends) <= set(loop))
        names = ", ".join(loop)
        message = f"the plain switches {names} form a loop; remove a link between them, or make one of them ovs"
        yield Finding(("links", last), message)


def reachability(network: Network) -> Findings:
    first = next(iter(network.hypervisors))
    other = network.hypervisors[first].uplink.switch
    for name in unreachable_ends(network):
        is_host = name in network.hosts
        switch = network.hosts[name].switch if is_host else network.hypervisors[name].uplink.switch
        message = f"'{name}' cannot reach '{first}'; add links that join the switches '{switch}' and '{other}'"
        yield Finding(("hosts", name) if is_host else ("hypervisors", name, "uplink"), message)


def admission(network: Network) -> Findings:
    """The network keeps the deadlines of all channels, whatever else is sent."""
    found = Guarantees(network)
    for refusal, text in zip(found.refusals, refusal_texts(found), strict=True):
        yield Finding(_place(network, refusal.at), text)


FORM_RULES = (
    hypervisor_exists,
    node_names,
    references,
    uplink_switches,
    switch_controllers,
    link_ends,
    vm_addresses,
    controller_ports,
    controller_addresses,
    class_values,
    channel_ends,
    channel_ports,
    channel_deadlines,
    channel_addresses,
    channel_packets,
    channel_selectors,
    miss_handlers,
)
CHANNEL_RULES = (
    references,
    channel_ends,
    channel_ports,
    channel_deadlines,
    channel_addresses,
    channel_packets,
    miss_handlers,
)
"""For one channel of a valid network. Whether two channels would take the same packets is the store's to say."""

NETWORK_RULES = (interface_names, plain_loops, reachability)
ADMISSION_RULES = (admission,)
"""These say no to a file that is valid: it asks for more than its links have."""


def _place(network: Network, at: Port | str) -> Place:
    """Where the file declares what a refusal is about."""
    if isinstance(at, str):
        return ("channels", at, "deadline")
    for name in (at.node, at.peer):
        if name in network.hypervisors:
            return ("hypervisors", name, "uplink")
        if name in network.hosts:
            return ("hosts", name)
    return ("links", next(index for index, link in enumerate(network.links) if {at.node, at.peer} == set(link.ends)))


def _repeated(items: Iterable[tuple[Any, Place]]) -> Iterator[tuple[Place, Any, Place]]:
    """For each value that came before: its place, the value, and the place where it came first."""
    first: dict[Any, Place] = {}
    for value, place in items:
        if first.setdefault(value, place) != place:
            yield place, value, first[value]


def _matching(data: Any, pattern: Place, place: Place = ()) -> Iterator[tuple[Place, Any]]:
    """The parts of `data` whose place matches `pattern`, where '*' is any one key or position."""
    if not pattern:
        yield place, data
        return
    inner = data if isinstance(data, dict) else dict(enumerate(data)) if isinstance(data, list) else {}
    for key in inner if pattern[0] == "*" else inner.keys() & pattern[:1]:
        yield from _matching(inner[key], pattern[1:], (*place, key))


def _owner(place: Place) -> str:
    return path_text(place[:2])
