"""What a guest is told, made of what a controller knows. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from controller.domain import lifecycle
from controller.errors import CannotRun, Conflict, InvalidChannel, NotAdmitted, OverQuota, RtvnicError, UnknownChannel
from controller.guests.leases import LEASE_MAX_S
from controller.guests.reading import Talking
from controller.model import Channel, Protocol
from controller.peering.messages import MissReport
from guest.messages import Answer, ListedChannel, Missed, State, Status

_STATUS: Mapping[type[RtvnicError], Status] = {
    InvalidChannel: Status.INVALID,
    NotAdmitted: Status.REFUSED,
    OverQuota: Status.OVER_QUOTA,
    UnknownChannel: Status.UNKNOWN,
    Conflict: Status.CONFLICT,
}
"""What is not here is no fault of the guest's: it may ask again."""

_STATES: Mapping[lifecycle.State, State] = {
    lifecycle.State.WAITING: State.WAITING,
    lifecycle.State.INSTALLING: State.INSTALLING,
    lifecycle.State.INSTALLED: State.INSTALLED,
    lifecycle.State.DEGRADED: State.DEGRADED,
    lifecycle.State.REFUSED: State.REFUSED,
    lifecycle.State.OFF: State.REFUSED,
}
_PROTOCOLS = {None: 0, Protocol.TCP: 6, Protocol.UDP: 17}
_U32, _U64 = (1 << 32) - 1, (1 << 64) - 1


def plain(status: Status, channel_id: int = 0, reason: str = "") -> Answer:
    return Answer(status, State.WAITING, channel_id, 0, 0, 0, 0, reason)


def no_lease() -> Answer:
    return plain(Status.INVALID, reason=f"a lease has 1 to {LEASE_MAX_S} s")


def unknown(channel_id: int) -> Answer:
    return plain(Status.UNKNOWN, channel_id, "no such channel talks from this VM; its lease may have ended")


def busy(reason: str) -> Answer:
    return plain(Status.BUSY, reason=f"{reason}; ask again")


def refusal(error: RtvnicError) -> Answer:
    """Why the store has not done what was asked; with admission's offer, where it is admission that has refused."""
    status = _STATUS.get(type(error), Status.BUSY)
    if not isinstance(error, NotAdmitted):
        return plain(status, reason=error.what if isinstance(error, CannotRun) else str(error))
    offer = error.offer
    return Answer(status, State.REFUSED, 0, 0, 0, offer.deadline_ns or 0, offer.rate_bps or 0, str(error))


def standing(channel: Channel, known: Talking | None, lease_s: int) -> Answer:
    """Of a channel that there is; `known` is how it stands, if the domain has heard of it as it is now."""
    return Answer(
        status=Status.DONE,
        state=_STATES[known.state] if known else State.WAITING,
        channel_id=channel.label,
        lease_s=lease_s,
        bound_ns=known.bound_ns or 0 if known else 0,
        deadline_ns=channel.deadline_ns,
        rate_bps=channel.rate_bps,
    )


def listed(known: Talking, lease_s: int) -> ListedChannel:
    channel = known.channel
    return ListedChannel(
        channel_id=channel.label,
        lease_s=lease_s,
        state=_STATES[known.state],
        destination=channel.destination,
        source=channel.source,
        src_port=channel.src_port or 0,
        dst_port=channel.dst_port or 0,
        protocol=_PROTOCOLS[channel.protocol],
        deadline_ns=channel.deadline_ns,
        rate_bps=channel.rate_bps,
        burst_bytes=channel.burst_bytes,
    )


def missed(channel: Channel, report: MissReport) -> Missed:
    return Missed(
        channel_id=channel.label,
        misses=min(report.misses, _U32),
        packets=_u64(report.packets),
        total_misses=_u64(report.total_misses),
        worst_ns=_u64(report.worst_ns),
        mean_ns=_u64(report.mean_ns),
        window_ns=_u64(report.window_ns),
        clock_error_ns=_u64(report.clock_error_ns),
    )


def _u64(number: int) -> int:
    """As a datagram holds it, whatever a peer has reported."""
    return max(0, min(number, _U64))
