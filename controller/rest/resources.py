"""What REST says, as models with a schema; `controller.rest.view` fills them.

Durations and instants are ns, rates bit/s, sizes bytes. Null means: not known (yet).
"""

from __future__ import annotations

from controller.admission.paths import Server
from controller.clocks.clock import Source
from controller.domain.events import Proof
from controller.domain.lifecycle import State
from controller.domain.reports import Model, Summary
from controller.model import Bypass, Excess, Late, Protocol, Scheduler, SwitchKind
from controller.peering.session import Phase


class HopView(Model):
    """One link on a channel's way: what orders packets there, and how long that takes at most."""

    at: str
    server: Server
    bound_ns: int | None


class AdaptationView(Model):
    """By how much earlier than planned a channel is sent because its packets came late (`on_miss: adapt`), since when.

    `most_ns` is what admission allowed when it was asked last; with `since_ns` null: not asked, all is as planned.
    """

    adapted_ns: int
    most_ns: int | None
    since_ns: int | None


class ChannelView(Model):
    """A channel: its contract, where it stands and why, how its packets are marked, and what became of them.

    `owner` may change it: `file`, `rest` or `guest`. `version` is another one after each change.

    Where a host listens, nobody tells what it received: what only a listener's controller knows is null. So is what the
    other end's controller knows while it does not answer, and what the shim counts until it has told.

    `bound_ns` is the longest that admission lets a packet take, `allowance_ns` of it in the talker's host and the rest
    at `hops`; `longest_ns` is the longest that one took. Both end at the listener's uplink. `adaptation` is null at
    the listener's controller, and where the channel does not ask for it.

    Of the packets that were late, `missed` were so by more than the clocks of both ends may be apart (`clock_error_ns`;
    null: nobody knows), `within_clock_error` by less. `unjudged` came while a clock had just been set.
    """

    name: str
    owner: str
    version: int
    state: State
    why: str
    since_ns: int
    talker: str
    listener: str
    source: str
    destination: str
    protocol: Protocol | None
    src_port: int | None
    dst_port: int | None
    deadline_ns: int
    min_rate_bps: int
    burst_bytes: int
    packet_bytes: int
    excess: Excess
    late: Late
    on_bypass: Bypass
    on_miss: tuple[str, ...]
    adaptation: AdaptationView | None
    path: tuple[str, ...]
    hops: tuple[HopView, ...]
    allowance_ns: int
    bound_ns: int | None
    longest_ns: int | None
    channel_label: int
    deadline_label: int
    deadline_class: str
    queue_id: int
    tc: int
    dscp: int
    sent: int | None
    received: int | None
    lost: int | None
    missed: int | None
    within_clock_error: int | None
    unjudged: int | None
    bypassed: int | None
    clock_error_ns: int | None
    conforming: int | None
    postponed: int | None
    excess_dropped: int | None
    demoted: int | None
    late_dropped: int | None
    queue_full: int | None
    queueing_delay: Summary
    lateness: Summary


class WrittenView(Model):
    """A channel as the store has it after a write. `url`, at its talker's controller, says how it stands.

    `is_installed`: whether the controllers of its ends have said so of this version.
    """

    name: str
    owner: str
    version: int
    channel_label: int
    is_installed: bool
    url: str


class ClassView(Model):
    """A deadline class in a domain: what it takes, how its packets are marked, its channels, what the shim counted.

    `proof` is that of its queue at the domain's uplink. Counts are null until the shim has told.
    """

    domain: str
    name: str
    queue_id: int
    tc: int
    dscp: int
    above_ns: int
    up_to_ns: int
    channels: tuple[str, ...]
    proof: Proof | None
    sent: int | None
    received: int | None
    missed: int | None
    within_clock_error: int | None
    unjudged: int | None
    bypassed: int | None
    postponed: int | None
    excess_dropped: int | None
    demoted: int | None
    late_dropped: int | None
    queue_full: int | None
    queueing_delay: Summary
    lateness: Summary


class QueueView(Model):
    """A queue of a port: what Open vSwitch counts, and beside it what the shim has sent of its class.

    `proof`: whether frames of its class, sent to try it, came out of it.
    """

    switch: str
    interface: str
    queue_id: int
    deadline_class: str
    packets: int
    bytes: int
    errors: int
    shim_packets: int | None
    shim_bytes: int | None
    proof: Proof | None


class SwitchView(Model):
    """A bridge of the domain. `dropped`: packets by the cause for which they were refused.

    `changes_sent`: entries that this controller has sent to it, or told it to withdraw, since it began.
    """

    name: str
    kind: SwitchKind
    datapath_id: str
    is_connected: bool
    state: State
    why: str
    flows: int
    changes_sent: int
    dropped: dict[str, int]


class ShimView(Model):
    """The shim of the domain's uplink: whether it answers, whether packets go past it, and since when that is so.

    `settings` is how many different ones this controller has had it take since it began. Its counters are those of
    dataplane/core/report.h: most should be zero.
    """

    is_ready: bool
    is_bypassed: bool
    why: str
    since_ns: int
    settings: int
    egress: dict[str, int]
    ingress: dict[str, int]


class PeerClockView(Model):
    """The clock of a peer's machine, as its controller tells: within `error_ns` of `reference`, or `why` not.

    `difference_ns`: how far it is from this one at most; null where nobody knows.
    """

    domain: str
    source: Source
    error_ns: int | None
    reference: str
    why: str
    difference_ns: int | None


class ClockView(Model):
    """The wall clock of this machine: within `error_ns` of `reference`, says `source`, or `why` nobody knows.

    `same-host`: all peers are on this machine, and nobody has to know. `steps`: how often it was set under the shim, as
    that tells. `peers` are those on other machines.
    """

    domain: str
    source: Source
    error_ns: int | None
    reference: str
    why: str
    steps: int | None
    peers: tuple[PeerClockView, ...]


class PeerView(Model):
    """A controller that shares channels with this one, that of `peer_of`, and the session with it.

    `sent` and `received` are frames, over all sessions; `dropped` messages had no room, `refused` sessions ended
    because of what the other side said or showed: both should be zero. `clock_difference_ns` is how far the clocks are
    apart at most; null: nobody knows.
    """

    domain: str
    peer_of: str
    address: str
    is_reachable: bool
    why: str
    channels: tuple[str, ...]
    session: Phase
    is_same_host: bool
    clock_difference_ns: int | None
    sent: int
    received: int
    dropped: int
    refused: int
    reconnects: int
    round_trip_ns: int | None


class MissView(Model):
    """A packet that arrived after its deadline, on the wall clock. `lateness_ns` is right within `clock_error_ns`."""

    channel: str
    lateness_ns: int
    at_ns: int
    clock_error_ns: int | None


class MissReportView(Model):
    """What the controller of a listener has told of misses on a channel that talks from here.

    In the last `window_ns`, `misses` of `packets` came after their deadline, by `mean_ns` and at worst `worst_ns`; the
    first at `first_at_ns` of the wall clock of `domain`, which is right within `clock_error_ns`. It was heard at
    `heard_at_ns`.
    """

    channel: str
    domain: str
    misses: int
    packets: int
    worst_ns: int
    mean_ns: int
    window_ns: int
    total_misses: int
    clock_error_ns: int
    first_at_ns: int
    heard_at_ns: int


class GuestView(Model):
    """A VM that may ask for channels by itself: its quota, what it has of that, and what it has asked for.

    `channels`, `rate_bps` and `burst_bytes` (on the wire) are those of the channels that it has opened. Of its
    `requests`, `refused` ones were answered with a no and `busy` ones put off. Never answered: `metered` ones, beyond
    the rate, dropped by the switch; `crowded_out` ones, behind too many of its own; `malformed` ones. `call_ups` have
    told it of misses; `call_ups_dropped`, reports of them that found no room, should be zero. `subscriptions` are those
    of the moment.
    """

    vm: str
    domain: str
    channels: int
    channels_max: int
    rate_bps: int
    rate_max_bps: int
    burst_bytes: int
    burst_max_bytes: int
    deadline_min_ns: int
    subscriptions: int
    requests: int
    refused: int
    busy: int
    metered: int
    crowded_out: int
    malformed: int
    call_ups: int
    call_ups_dropped: int


class HandlerView(Model):
    """What misses may start at this controller, by the name that channels give in `on_miss`, and what came of it.

    Of one channel it starts once in `every_ns`. Of `started`, some `failed` or `timed_out`, the last one as `why` says;
    `retried` counts further tries. `waiting` channels have not had their turn; `summed` reports went into one that
    waited, `dropped` ones had no room: these, and what failed, should be zero.
    """

    domain: str
    name: str
    kind: str
    every_ns: int
    timeout_ns: int
    waiting: int
    running: int
    started: int
    failed: int
    timed_out: int
    retried: int
    summed: int
    dropped: int
    why: str


class HypervisorView(Model):
    name: str
    switch: str
    interface: str
    rate_bps: int
    be_slack_ns: int
    scheduler: Scheduler
    vms: tuple[str, ...]
    rest_url: str


class VmView(Model):
    name: str
    hypervisor: str
    mac: str
    addresses: tuple[str, ...]
    interface: str


class HostView(Model):
    name: str
    switch: str
    mac: str
    addresses: tuple[str, ...]


class TopologyView(Model):
    """What the topology file declares, whole; `domain` is the part that this controller programs."""

    file: str
    domain: str
    bridges: tuple[str, ...]
    hypervisors: tuple[HypervisorView, ...]
    switches: dict[str, SwitchKind]
    links: tuple[tuple[str, str], ...]
    vms: tuple[VmView, ...]
    hosts: tuple[HostView, ...]
    channels: tuple[str, ...]


class HealthView(Model):
    """`problems` is empty when all is well."""

    domain: str
    is_healthy: bool
    problems: tuple[str, ...]
