"""What would be accepted in place of what is refused, and how much room there is beside what is accepted.

Pure. Every answer was tried on the whole network before it is given.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from controller.admission.condition import first, smallest_slack_ns
from controller.admission.guarantee import Guarantees, Refusal
from controller.admission.paths import Port
from controller.admission.tolerance import enlarged
from controller.errors import Offer
from controller.model import SHORTEST_DEADLINE_NS, Channel, Network
from controller.units import DURATION, NS_PER_MS, RATE

Passes = Callable[[Network], bool]

ADVISED_MOST = 10_000
"""Channels of the network times refusals: what would be accepted instead takes some hundred admissions to find."""

PLAIN_MOST = 3
"""Refusals that are told without advice."""

_LEAST_RATE_BPS = 1000
_DEFAULT_SLACK_NS = 2 * NS_PER_MS
_AUTO_JITTER_NS = 5 * NS_PER_MS
_STEP = 1.1


def keeping_all(found: Guarantees) -> Passes:
    """Passes what keeps all; quickly, if it differs by some channels from the network of `found`."""
    return lambda network: not Guarantees(network, found).refusals


def offer(found: Guarantees, name: str) -> Offer:
    """What would be accepted in place of the channel `name`, which is not: of longer deadlines, and of lower rates."""
    channel = found.network.channels[name]

    def passes(changed: Network) -> bool:
        return not Guarantees(with_slacks(changed), found).refusals

    return Offer(
        smallest_deadline_ns(found, name, passes, rounded_up(channel.deadline_ns)),
        largest_rate_bps(found, name, passes, channel.rate_bps),
    )


def smallest_deadline_ns(
    found: Guarantees, name: str, passes: Passes | None = None, least_ns: int = SHORTEST_DEADLINE_NS
) -> int | None:
    """The smallest deadline, of three digits, with which the channel `name` passes beside the others; None: none does
    that a class takes.

    By default that passes which keeps all. None below `least_ns`, of three digits, is tried.

    A longer deadline may ask for more at a later hop, in a larger burst: so it is looked for from below, and only
    deadlines of three digits are tried.
    """

    keeps = passes or keeping_all(found)

    def is_enough(deadline_ns: int) -> bool:
        return keeps(_with_deadline(found.network, name, deadline_ns))

    most_ns = rounded_down(found.network.classes[-1].up_to_ns)
    if least_ns > most_ns:
        return None
    fails_ns, tried_ns = 0, least_ns
    while tried_ns < most_ns and not is_enough(tried_ns):
        fails_ns, tried_ns = tried_ns, min(_next_tried(tried_ns), most_ns)
    step_ns = _step(fails_ns or tried_ns)
    return first(range(fails_ns + step_ns if fails_ns else tried_ns, tried_ns + 1, step_ns), is_enough)


def largest_rate_bps(
    found: Guarantees, name: str, passes: Passes | None = None, most_bps: int | None = None
) -> int | None:
    """The largest `min_rate`, of three digits, with which the channel `name` passes, its burst as it is; None: none.

    None above `most_bps`, by default the fastest uplink's, is tried.
    """
    keeps = passes or keeping_all(found)

    def is_kept(rate_bps: int) -> bool:
        return keeps(_with_rate(found.network, name, rate_bps))

    most_bps = most_bps or max(each.uplink.rate_bps for each in found.network.hypervisors.values())
    less_bps = first(range(most_bps - _LEAST_RATE_BPS + 1), lambda less_bps: is_kept(most_bps - less_bps))
    if less_bps is None:
        return None
    rate_bps = rounded_down(most_bps - less_bps)
    return rate_bps if is_kept(rate_bps) else None


def slack_ns(found: Guarantees, port: Port) -> int | None:
    """The smallest slack, of three digits, with which the shim at `port` keeps all deadlines; None: none does."""
    smallest_ns = smallest_slack_ns(found.paths.edf_link(port), found.demands(port))
    return None if smallest_ns is None else rounded_up(smallest_ns)


def with_slacks(network: Network) -> Network:
    """A copy in which every `be_slack: auto` is the smallest slack with which the uplink keeps its deadlines.

    Where there is room it also forgives some jitter.
    """
    slacks_ns = {name: 0 for name, each in network.hypervisors.items() if each.uplink.is_slack_auto}
    if not slacks_ns:
        return network
    for found in (Guarantees(network), Guarantees(enlarged(network, _AUTO_JITTER_NS))):
        for port in found.shims:
            if port.node in slacks_ns:
                slacks_ns[port.node] = max(slacks_ns[port.node], slack_ns(found, port) or 0)
    return network.with_slacks({name: least_ns or _DEFAULT_SLACK_NS for name, least_ns in slacks_ns.items()})


def refusal_texts(found: Guarantees) -> list[str]:
    """All refusals of `found` in words; of the first ones, or all in a small network, with what would be accepted."""
    advised = max(1, ADVISED_MOST // max(1, len(found.network.channels)))
    texts = [refusal_text(found, refusal) for refusal in found.refusals[:advised]]
    return texts + [f"{_what(refusal)}; mend the others first" for refusal in found.refusals[advised:]]


def plain_texts(found: Guarantees, name: str) -> list[str]:
    """The first refusals of `found` in words, without advice, for who may know of no channel but `name`."""
    return [*dict.fromkeys(_plain(refusal, name) for refusal in found.refusals[:PLAIN_MOST])]


def refusal_text(found: Guarantees, refusal: Refusal) -> str:
    """`refusal`, one of those of `found`, in words, with what would be accepted instead."""
    others = {_key(each) for each in found.refusals} - {_key(refusal)}
    heaviest = refusal.heaviest[0]

    def passes(changed: Network) -> bool:
        return {_key(each) for each in Guarantees(with_slacks(changed), found).refusals} <= others

    remedies = []
    if (deadline_ns := smallest_deadline_ns(found, heaviest, passes)) is not None:
        remedies.append(f"deadline: {DURATION.format(deadline_ns)} or more for '{heaviest}'")
    if (rate_bps := largest_rate_bps(found, heaviest, passes)) is not None:
        remedies.append(f"min_rate: {RATE.format(rate_bps)} or less for '{heaviest}'")
    if (larger_ns := _larger_slack_ns(found, refusal, passes)) is not None:
        remedies.append(f"be_slack: {DURATION.format(larger_ns)} or more")
    advice = f"one of these would do: {'; '.join(remedies)}" if remedies else refusal.cure
    return f"{_what(refusal)}; {advice}"


def rounded_up(value: int) -> int:
    """`value`, or the next larger number of three digits and zeros."""
    return -rounded_down(-value)


def rounded_down(value: int) -> int:
    """`value`, or the next smaller number of three digits and zeros."""
    return value // _step(value) * _step(value)


def _step(value: int) -> int:
    """From one number of three digits and zeros to the next."""
    step: int = 10 ** max(0, len(str(abs(value))) - 3)
    return step


def _next_tried(value: int) -> int:
    """A tenth more than `value`, but never beyond the next power of ten: the steps between are all of one size."""
    power: int = 10 ** len(str(value))
    return min(rounded_up(round(value * _STEP)), power)


def _larger_slack_ns(found: Guarantees, refusal: Refusal, passes: Passes) -> int | None:
    if not isinstance(refusal.at, Port) or refusal.at not in found.shims:
        return None
    smallest_ns = slack_ns(found, refusal.at)
    is_enough = smallest_ns is not None and passes(found.network.with_slacks({refusal.at.node: smallest_ns}))
    return smallest_ns if is_enough else None


def _what(refusal: Refusal) -> str:
    if not isinstance(refusal.at, Port):
        return f"channel '{refusal.at}': {refusal.what}"
    return f"{refusal.at}: {refusal.what}; most of it from {', '.join(refusal.heaviest)}"


def _plain(refusal: Refusal, name: str) -> str:
    if isinstance(refusal.at, Port):
        return f"{refusal.at}: {refusal.what}"
    return _what(refusal) if refusal.at == name else "another channel would lose its deadline"


def _key(refusal: Refusal) -> str:
    return str(refusal.at)


def _with_deadline(network: Network, name: str, deadline_ns: int) -> Network:
    """A copy in which the channel `name` has another deadline, and the class that takes it."""
    taker = next(each for each in network.classes if each.takes(deadline_ns))
    return _with(network, replace(network.channels[name], deadline_ns=deadline_ns, deadline_class=taker))


def _with_rate(network: Network, name: str, rate_bps: int) -> Network:
    return _with(network, replace(network.channels[name], rate_bps=rate_bps))


def _with(network: Network, channel: Channel) -> Network:
    return replace(network, channels={**network.channels, channel.name: channel})
