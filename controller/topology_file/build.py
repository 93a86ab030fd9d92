"""From a valid form to a Network: fills in every default that depends on other parts of the file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from controller.handlers.declared import UNPRIVILEGED, Handler, Program, Webhook
from controller.model import (
    AUTO_SLACK_NS,
    FULL_LABELLED_FRAME_BYTES,
    UDP_BYTES,
    VM_MTU,
    Channel,
    DeadlineClass,
    Endpoint,
    Host,
    Hypervisor,
    IpInterface,
    Link,
    Network,
    Quota,
    Switch,
    SwitchKind,
    Uplink,
    Vm,
)
from controller.network.labels import assign_channel_labels
from controller.topology_file.schema import (
    ChannelForm,
    ClassForm,
    ControllerForm,
    File,
    HandlerForm,
    HostForm,
    HypervisorForm,
    QuotaForm,
    VmForm,
)
from controller.units import NS_PER_MS

FIRST_OPENFLOW_PORT = 6653
FIRST_REST_PORT = 8181
FIRST_PEERING_PORT = 6753
_DEFAULT_CLASSES = (
    ("2ms", 7, 46, 2),
    ("4ms", 6, 44, 4),
    ("8ms", 5, 34, 8),
    ("16ms", 4, 36, 16),
    ("40ms", 3, 26, 40),
    ("200ms", 2, 18, 200),
    ("5s", 1, 10, 5000),
)


def network(form: File, file: Path) -> Network:
    """The whole network. `form` must have passed every rule of `rules.FORM_RULES`."""
    classes = deadline_classes(form.classes)
    labels = assign_channel_labels(form.channels)
    return Network(
        file=file,
        hypervisors={
            name: _hypervisor(name, index, entry, form) for index, (name, entry) in enumerate(form.hypervisors.items())
        },
        switches=_switches(form),
        links=tuple(Link((first, second), rate or _fastest_bps(form)) for first, second, rate in form.links),
        vms={name: _vm(name, index, entry) for index, (name, entry) in enumerate(form.vms.items())},
        hosts={name: _host(name, index, entry, form) for index, (name, entry) in enumerate(form.hosts.items())},
        classes=classes,
        channels={name: channel(name, labels[name], entry, form, classes) for name, entry in form.channels.items()},
        tls_directory=file.parent / form.tls if form.tls is not None else None,
        handlers={name: _handler(name, entry) for name, entry in form.handlers.items()},
    )


def deadline_classes(forms: Mapping[str, ClassForm]) -> tuple[DeadlineClass, ...]:
    """The declared classes, else the default ones, shortest deadlines first; each begins where the one below ends."""
    declared = [(name, entry.queue, entry.dscp, entry.up_to, entry.limit) for name, entry in forms.items()]
    default = [(name, queue, dscp, up_to_ms * NS_PER_MS, None) for name, queue, dscp, up_to_ms in _DEFAULT_CLASSES]
    rows = sorted(declared or default, key=lambda row: row[3])
    bounds = [0, *(row[3] for row in rows)]
    return tuple(
        DeadlineClass(name, queue, dscp, above_ns, up_to_ns, limit_bps)
        for (name, queue, dscp, up_to_ns, limit_bps), above_ns in zip(rows, bounds, strict=False)
    )


def channel(name: str, label: int, form: ChannelForm, file: File, classes: tuple[DeadlineClass, ...]) -> Channel:
    """The channel that `form` declares in `file`. Both must have passed every rule of `rules.CHANNEL_RULES`."""
    listener = file.vms.get(form.listener) or file.hosts[form.listener]
    addresses = common_addresses(file.vms[form.talker], listener, form.ip_version)
    assert addresses is not None, "checked by rules.channel_addresses"
    return Channel(
        name=name,
        label=label,
        talker=form.talker,
        listener=form.listener,
        source=addresses[0].ip,
        destination=addresses[1].ip,
        protocol=form.protocol,
        src_port=form.src_port,
        dst_port=form.dst_port,
        deadline_ns=form.deadline,
        rate_bps=form.min_rate,
        burst_bytes=form.burst or default_burst_bytes(form.min_rate),
        deadline_class=next(entry for entry in classes if entry.takes(form.deadline)),
        packet_bytes=form.packet or default_packet_bytes(addresses[0].version),
        on_miss=tuple(form.on_miss),
        excess=form.excess,
        late=form.late,
        on_bypass=form.on_bypass,
    )


def common_addresses(
    talker: VmForm, listener: VmForm | HostForm, ip_version: int | None
) -> tuple[IpInterface, IpInterface] | None:
    """The first addresses of the two VMs that are in one IP network, of `ip_version` if given."""
    for source in talker.ip:
        for destination in listener.ip:
            if ip_version in (None, source.version) and source.network == destination.network:
                return source, destination
    return None


def endpoint(form: ControllerForm, index: int) -> Endpoint:
    """Where the controller of the hypervisor at `index` in the file listens."""
    return Endpoint(
        form.address,
        form.openflow_port or FIRST_OPENFLOW_PORT + index,
        form.rest_port or FIRST_REST_PORT + index,
        form.peering_port or FIRST_PEERING_PORT + index,
    )


def vm_mac(form: VmForm, index: int) -> str:
    """The MAC address of the VM at `index` in the file."""
    number = index + 1
    return form.mac or f"02:00:00:00:{number >> 8:02x}:{number & 0xFF:02x}"


def host_mac(form: HostForm, index: int) -> str:
    """The MAC address of the host at `index` in the file."""
    number = index + 1
    return form.mac or f"02:00:00:01:{number >> 8:02x}:{number & 0xFF:02x}"


def _hypervisor(name: str, index: int, form: HypervisorForm, file: File) -> Hypervisor:
    uplink = form.uplink
    return Hypervisor(
        name=name,
        datapath_id=index + 1,
        uplink=Uplink(
            switch=uplink.switch or next(iter(file.switches)),
            interface=uplink.interface or f"{name}-up",
            rate_bps=uplink.rate,
            be_slack_ns=uplink.be_slack,
            scheduler=uplink.scheduler,
            limit_bps=uplink.limit,
            is_slack_auto=uplink.be_slack == AUTO_SLACK_NS,
        ),
        controller=endpoint(form.controller, index),
        allowance_ns=form.allowance,
    )


def _switches(file: File) -> dict[str, Switch]:
    first_hypervisor = next(iter(file.hypervisors))
    switches = {}
    for datapath_id, (name, form) in enumerate(file.switches.items(), start=len(file.hypervisors) + 1):
        domain = "" if form.kind is SwitchKind.PLAIN else form.controlled_by or first_hypervisor
        switches[name] = Switch(name, form.kind, datapath_id, domain)
    return switches


def _fastest_bps(file: File) -> int:
    return max(entry.uplink.rate for entry in file.hypervisors.values())


def _vm(name: str, index: int, form: VmForm) -> Vm:
    interface = form.interface or f"{name}-port"
    return Vm(name, form.hypervisor, vm_mac(form, index), tuple(form.ip), interface, _quota(form.quota))


def _quota(form: QuotaForm | None) -> Quota | None:
    return Quota(form.channels, form.rate, form.burst, form.deadline) if form else None


def _host(name: str, index: int, form: HostForm, file: File) -> Host:
    switch = form.switch or next(iter(file.switches))
    return Host(name, switch, host_mac(form, index), tuple(form.ip), form.rate or _fastest_bps(file))


def _handler(name: str, form: HandlerForm) -> Handler:
    action: Program | Webhook
    if form.exec is not None:
        action = Program(form.exec, form.user or UNPRIVILEGED)
    else:
        assert form.webhook is not None and form.secret is not None, "checked by the form"
        action = Webhook(form.webhook, Path(form.secret))
    return Handler(name, action, form.every, form.timeout)


def default_packet_bytes(version: int) -> int:
    """The payload that fills a VM's packet of an IP version."""
    return VM_MTU - UDP_BYTES[version]


def default_burst_bytes(rate_bps: int) -> int:
    """What a channel may send at once where the file does not say: 1 ms at its rate, at least two full frames."""
    return max(2 * FULL_LABELLED_FRAME_BYTES, rate_bps // 8 // 1000)
