"""What one bridge needs from Open vSwitch and from the kernel, as data.

Pure: the plan follows from the topology alone, and the same topology always gives the same plan. `ovs_config.apply`
makes it true.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from controller.admission import paths
from controller.admission.guarantee import Guarantees
from controller.admission.queues import FLOOR_DIVISOR, Asked, by_priority, shares
from controller.model import LABEL_STACK_BYTES, VM_MTU, DeadlineClass, Endpoint, Network, Scheduler, TlsFiles
from controller.network.routing import link_rate_bps
from controller.network.wiring import Port, PortRole, ports_of, shim_interface

LABELLED_MTU = VM_MTU + LABEL_STACK_BYTES
"""A frame that outgrows a port's MTU by a label is dropped without a word."""

BEST_EFFORT_QUEUE = 0
LOWEST_PRIORITY = 7


class DatapathType(StrEnum):
    """Where Open vSwitch forwards: in its kernel module, or in its own process."""

    SYSTEM = "system"
    NETDEV = "netdev"


@dataclass(frozen=True)
class QueuePlan:
    """One Queue row. Of the queues that are within their `min_rate_bps` and burst that of the smallest `priority` goes
    first; then spare bandwidth goes the same way, up to `max_rate_bps`.

    `dscp` is that of its class, 0 for best effort.
    """

    queue_id: int
    min_rate_bps: int
    max_rate_bps: int
    burst_bytes: int
    priority: int
    dscp: int = 0


@dataclass(frozen=True)
class QosPlan:
    """A QoS row of type linux-htb."""

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
    frames with labels and get an MTU of at least LABELLED_MTU, those in `offloads_off` lead to a VM. With `tls` Open
    vSwitch proves to the controller which bridges it has. One that `is_lasting` no test bed removes.
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
    tls: TlsFiles | None = None
    is_lasting: bool = False


def plan_bridge(network: Network, bridge: str, datapath: DatapathType, is_lasting: bool = False) -> BridgePlan:
    """The plan for the hypervisor or OVS switch `bridge`: of a test bed, or a lasting one on a machine of its own."""
    ports = ports_of(network, bridge)
    edf = tuple(port.interface for port in ports if port.role is PortRole.EDF)
    shim_ends = tuple(shim_interface(bridge) for _ in edf)
    wire = tuple(port.interface for port in ports if port.role in (PortRole.UPLINK, PortRole.TRUNK))
    guarantees = Guarantees(network)
    return BridgePlan(
        name=bridge,
        datapath_id=f"{network.datapath_id(bridge):016x}",
        datapath_type=datapath,
        controller_target=_openflow_target(_controller(network, bridge), network.tls_directory is not None),
        ports=tuple(PortPlan(port.interface, port.number, _port_qos(guarantees, bridge, port)) for port in ports),
        veth_pairs=tuple(zip(edf, shim_ends, strict=True)),
        taps=tuple(port.interface for port in ports if port.role is PortRole.LIVENESS),
        labelled=wire + edf + shim_ends,
        offloads_off=tuple(port.interface for port in ports if port.role is PortRole.VM),
        tls=network.switch_tls(bridge) if is_lasting else network.openvswitch_tls(),
        is_lasting=is_lasting,
    )


def _controller(network: Network, bridge: str) -> Endpoint:
    domain = bridge if bridge in network.hypervisors else network.switches[bridge].domain
    return network.hypervisors[domain].controller


def _openflow_target(controller: Endpoint, has_tls: bool) -> str:
    host = f"[{controller.address}]" if ":" in controller.address else controller.address
    return f"{'ssl' if has_tls else 'tcp'}:{host}:{controller.openflow_port}"


def _port_qos(guarantees: Guarantees, bridge: str, port: Port) -> QosPlan | None:
    """Queues where a link to another machine begins."""
    network = guarantees.network
    if port.role not in (PortRole.UPLINK, PortRole.TRUNK, PortRole.HOST):
        return None
    is_uplink = port.role is PortRole.UPLINK
    uplinks = [network.hypervisors[bridge]] if is_uplink else [*network.hypervisors.values()]
    is_fifo = all(each.uplink.scheduler is Scheduler.FIFO for each in uplinks)
    classes = () if is_fifo else network.classes
    asked = guarantees.traffic.asked(paths.Port(bridge, port.peer, is_uplink))
    if is_uplink and uplinks[0].uplink.scheduler is Scheduler.EDF:
        classes, asked = _unlimited(classes), {name: _in_steps(each) for name, each in asked.items()}
    return _qos(link_rate_bps(network, bridge, port.peer), classes, asked)


def _unlimited(classes: Sequence[DeadlineClass]) -> tuple[DeadlineClass, ...]:
    """For queues that a shim orders: a packet that such a queue held back would be in the way of more urgent ones."""
    return tuple(replace(each, limit_bps=None) for each in classes)


def _in_steps(asked: Asked) -> Asked:
    """What is asked of queues that a shim orders, and that count only without it: in steps, so that not each channel
    that comes, changes or goes changes them. To change a queue stops Open vSwitch for some milliseconds."""
    return Asked(
        rate_bps=_step(asked.rate_bps),
        burst_bytes=_step(asked.burst_bytes),
        arriving_bytes=_step(asked.arriving_bytes),
        shortest_ns=_step(asked.shortest_ns),
    )


def _step(value: int) -> int:
    """The next of 1, 1.5, 2, 3, 4, 6, 8, 12, ... from `value` on."""
    power = 1 << max(0, value - 1).bit_length()
    return power * 3 // 4 if value <= power * 3 // 4 else power


def _qos(rate_bps: int, classes: Sequence[DeadlineClass], asked: Mapping[str, Asked]) -> QosPlan:
    """The queues of best effort and of `classes` at a port that is `asked` for that, by class."""
    given = shares(rate_bps, classes, asked)
    queues = [QueuePlan(BEST_EFFORT_QUEUE, rate_bps // FLOOR_DIVISOR, rate_bps, 0, LOWEST_PRIORITY)]
    for priority, each in enumerate(by_priority(classes)):
        share, most_bps = given[each.name], min(each.limit_bps or rate_bps, rate_bps)
        queues.append(QueuePlan(each.queue_id, share.rate_bps, most_bps, share.burst_bytes, priority, each.dscp))
    return QosPlan(rate_bps, tuple(sorted(queues, key=lambda queue: queue.queue_id)))
