"""What a domain knows of the channels that talk from its VMs, for their guests. Pure; in the domain's thread."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from controller.domain.known import Known
from controller.domain.lifecycle import State
from controller.model import Channel
from controller.rest.view import BADNESS
from controller.store.records import Owner


@dataclass(frozen=True)
class Talking:
    """A channel that talks from here, and how it stands: the worse of its ends. `bound_ns`: what it is assured of."""

    channel: Channel
    is_guests: bool
    state: State
    bound_ns: int | None


def talking(domain: Known, vm: str) -> Mapping[int, Talking] | None:
    """By channel label, what talks from `vm`; None: the domain has not been told its channels yet."""
    if not domain.bridges[domain.name].is_told:
        return None
    return {each.label: _reading(domain, each) for each in domain.channels.values() if each.talker == vm}


def opened(domain: Known) -> Mapping[int, Channel]:
    """By channel label, what guests of the domain have opened."""
    return {
        each.label: each
        for each in domain.channels.values()
        if domain.owners.get(each.name) == Owner.GUEST and domain.network.talker_domain(each) == domain.name
    }


def _reading(domain: Known, channel: Channel) -> Talking:
    guarantee = domain.guarantees.by_channel.get(channel.name)
    is_guests = domain.owners.get(channel.name) == Owner.GUEST
    return Talking(channel, is_guests, _state(domain, channel), guarantee.bound_ns if guarantee else None)


def _state(domain: Known, channel: Channel) -> State:
    end = domain.ends.get(channel.name)
    if end is None:
        return State.OFF
    own, _ = domain.standing(end)
    if domain.network.is_local(channel) or channel.listener in domain.network.hosts:
        return own
    return max(own, domain.remote_end(channel).state, key=BADNESS.__getitem__)
