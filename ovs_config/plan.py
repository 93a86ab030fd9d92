"""What one bridge needs from Open vSwitch and from the kernel, as data.

Pure: the plan follows from the topology alone, and the same topology always gives the same plan. `ovs_config.apply`
makes it true.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from controller.model import LABEL_STACK_BYTES, VM_MTU, Channel, Endpoint, Network, Scheduler
from controller.wiring import Port, PortRole, ports_of, shim_interface

LABELLED_MTU = VM_MTU + LABEL_STACK_BYTES
"""A frame that outgrows a port's MTU by a label is dropped without a word."""

BEST_EFFORT_QUEUE = 0
LOWEST_PRIORITY = 7
FLOOR_DIVISOR = 100
"""Each queue is sure of at least 1 % of the link, so that none starves while the shim is down."""


class DatapathType(StrEnum):
    """Where Open vSwitch forwards: in its kernel module, or in its own process."""

    SYSTEM = "system"
    NETDEV = "netdev"


@dataclass(frozen=True)
class QueuePlan:
    """One Queue row. Spare bandwidth goes to the queue of the smallest `priority` first."""

    queue_id: int
    min_rate_bps: int
    priority: int


@dataclass(frozen=True)
class QosPlan:
    """A QoS row of type linux-htb. Each queue may use the whole link when the others leave it free."""

    max_rate_bps: int
    queues: tuple[QueuePlan, ...]


@dataclass(frozen=True)
class PortPlan:
    """A port with the OpenFlow number `number`, on an interface of the same name."""

    interface: str
    number: int
    qos: QosPlan | None


@dataclass(frozen=True)
class BridgePlan:
    """A bridge and all that it stands on.

    `veth_pairs` and `taps` are made, and removed again; other interfaces are only adjusted: those in `labelled` carry
    frames with labels and get an MTU of at least LABELLED_MTU, those in `offloads_off` lead to a VM.
    """

    name: str
    datapath_id: str
    datapath_type: DatapathType
    controller_target: str
    ports: tuple[PortPlan, ...]
    veth_pairs: tuple[tuple[str, str], ...]
    taps: tuple[str, ...]
    labelled: tuple[str, ...]
    offloads_off: tuple[str, ...]


def plan_bridge(network: Network, bridge: str, datapath: DatapathType) -> BridgePlan:
    """The plan for the hypervisor or OVS switch `bridge`."""
    ports = ports_of(network, bridge)
    edf = tuple(port.interface for port in ports if port.role is PortRole.EDF)
    shim_ends = tuple(shim_interface(bridge) for _ in edf)
    wire = tuple(port.interface for port in ports if port.role in (PortRole.UPLINK, PortRole.TRUNK))
    return BridgePlan(
        name=bridge,
        datapath_id=f"{network.datapath_id(bridge):016x}",
        datapath_type=datapath,
        controller_target=_openflow_target(_controller(network, bridge)),
        ports=tuple(PortPlan(port.interface, port.number, _port_qos(network, bridge, port)) for port in ports),
        veth_pairs=tuple(zip(edf, shim_ends, strict=True)),
        taps=tuple(port.interface for port in ports if port.role is PortRole.LIVENESS),
        labelled=wire + edf + shim_ends,
        offloads_off=tuple(port.interface for port in ports if port.role is PortRole.VM),
    )


def _controller(network: Network, bridge: str) -> Endpoint:
    domain = bridge if bridge in network.hypervisors else network.switches[bridge].domain
    return network.hypervisors[domain].controller


def _openflow_target(controller: Endpoint) -> str:
    host = f"[{controller.address}]" if ":" in controller.address else controller.address
    return f"tcp:{host}:{controller.openflow_port}"


def _port_qos(network: Network, bridge: str, port: Port) -> QosPlan | None:
    """Queues where the link's rate is declared: between a hypervisor and its switch, in either direction."""
    if port.role is PortRole.UPLINK:
        sent = [channel for channel in _crossing(network) if network.talker_domain(channel) == bridge]
        return _qos(network, bridge, sent)
    if port.role is PortRole.TRUNK and port.peer in network.hypervisors:
        received = [channel for channel in _crossing(network) if network.listener_domain(channel) == port.peer]
        return _qos(network, port.peer, received)
    return None


def _crossing(network: Network) -> Iterator[Channel]:
    return (channel for channel in network.channels.values() if not network.is_local(channel))


def _qos(network: Network, hypervisor: str, channels: list[Channel]) -> QosPlan:
    """The queues of one direction of the link of `hypervisor`, which `channels` use."""
    uplink = network.hypervisors[hypervisor].uplink
    floor_bps = uplink.rate_bps // FLOOR_DIVISOR
    queues = [QueuePlan(BEST_EFFORT_QUEUE, floor_bps, LOWEST_PRIORITY)]
    if uplink.scheduler is Scheduler.EDF:
        by_deadline = sorted(network.classes, key=lambda each: each.up_to_ns)
        for priority, deadline_class in enumerate(by_deadline):
            rate_bps = sum(channel.rate_bps for channel in channels if channel.deadline_class == deadline_class)
            queues.append(QueuePlan(deadline_class.queue_id, max(rate_bps, floor_bps), priority))
    return QosPlan(uplink.rate_bps, tuple(sorted(queues, key=lambda queue: queue.queue_id)))
