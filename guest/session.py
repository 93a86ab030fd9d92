"""What a guest has to ask, and when: requests that are repeated until answered, leases that are renewed. Pure.

Bytes come in, bytes and call-ups go out; `now_ns` is any monotonic clock's, and nothing here waits.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterator
from dataclasses import asdict, dataclass, replace

from guest.messages import (
    Answer,
    BadMessage,
    Change,
    Listed,
    Missed,
    Open,
    Renew,
    Reply,
    Request,
    State,
    Status,
    Subscribe,
    decoded_reply,
    encoded,
)
from guest.units import NS_PER_MS, NS_PER_S

PAUSES_NS = tuple(ms * NS_PER_MS for ms in (50, 100, 200, 400, 800, 1600))
"""After each time that a request is sent; the last one is followed by giving up."""

RENEWALS_PER_LEASE = 3
"""Two in a row may go unanswered before a lease ends."""

AGAIN_NS = NS_PER_S
"""Between a request that nobody has answered, or that has opened a channel anew, and the next."""

Nonces = Callable[[], int]


class Question:
    """A request that is sent again after each of PAUSES_NS, with the same nonce, until it is answered."""

    def __init__(self, request: Request, nonce: int, now_ns: int) -> None:
        self.nonce = nonce
        self.wake_ns = now_ns
        self.is_over = False
        self.is_busy = False
        """The controller has answered that it has no time; the request is sent again all the same."""

        self._datagram = encoded(request, nonce)
        self._pauses: Iterator[int] = iter(PAUSES_NS)

    def turn(self, now_ns: int) -> bytes | None:
        """The datagram that is to be sent now. None, and `is_over`, where waiting for an answer has had no use."""
        if now_ns < self.wake_ns or self.is_over:
            return None
        pause_ns = next(self._pauses, None)
        if pause_ns is None:
            self.is_over = True
            return None
        self.wake_ns = now_ns + pause_ns
        return self._datagram

    def answer(self, datagram: bytes) -> Answer | Listed | None:
        """What `datagram` answers to this question; None where it does not, or says that there is no time for it."""
        reply = reply_to(datagram, (self.nonce,))
        if reply is None or isinstance(reply, Missed):
            return None
        self.is_busy = isinstance(reply, Answer) and reply.status == Status.BUSY
        return None if self.is_busy else reply


class Renewal:
    """Asks `request` anew whenever a third of its lease has passed, and goes on when nobody has answered.

    `answered` is the nonce with which it was asked, and answered, already. Any that was asked with within a lease may
    be the one that the controller has heard last.
    """

    def __init__(
        self, request: Request, lease_s: int, nonces: Nonces, first_ns: int, answered: int | None = None
    ) -> None:
        self.request = request
        self._asked_with = deque(() if answered is None else (answered,), maxlen=lease_s + RENEWALS_PER_LEASE)
        self._period_ns = lease_s * NS_PER_S // RENEWALS_PER_LEASE
        self._nonces = nonces
        self._due_ns = first_ns
        self._question: Question | None = None

    @property
    def wake_ns(self) -> int:
        return self._question.wake_ns if self._question else self._due_ns

    def turn(self, now_ns: int) -> bytes | None:
        """The datagram that is to be sent now, if any."""
        if self._question is None and now_ns >= self._due_ns:
            self._question = Question(self.request, self._nonces(), now_ns)
            self._asked_with.append(self._question.nonce)
        if self._question is None:
            return None
        datagram = self._question.turn(now_ns)
        if self._question.is_over:
            self.ask(self.request, now_ns + AGAIN_NS)
        return datagram

    def answer(self, datagram: bytes, now_ns: int) -> Answer | None:
        """The answer in `datagram`, if it is one to what was asked. The next request is due a third of a lease on."""
        reply = self._question.answer(datagram) if self._question else None
        if not isinstance(reply, Answer):
            return None
        self.ask(self.request, now_ns + self._period_ns)
        return reply

    def call_up(self, datagram: bytes) -> Missed | None:
        """The call-up in `datagram`, if it is one that follows from what was asked."""
        reply = reply_to(datagram, self._asked_with)
        return reply if isinstance(reply, Missed) else None

    def ask(self, request: Request, due_ns: int) -> None:
        """From `due_ns` on, this in place of what was asked so far."""
        self.request = request
        self._question = None
        self._due_ns = due_ns


@dataclass(frozen=True)
class Standing:
    """How a channel stands, as the controller last said. `is_lost`: it said that there is none; it is opened anew."""

    channel_id: int
    state: State
    bound_ns: int
    deadline_ns: int
    rate_bps: int
    reason: str = ""
    is_lost: bool = False

    @classmethod
    def of(cls, answer: Answer) -> Standing:
        """Of an answer to a request that is done."""
        state = state_of(answer.state)
        return cls(answer.channel_id, state, answer.bound_ns, answer.deadline_ns, answer.rate_bps, answer.reason)


def state_of(number: int) -> State:
    """What a later version of the controller calls otherwise is waiting, as far as we know."""
    return State(number) if number in set(State) else State.WAITING


class Session:
    """A channel's life once it is open: its lease is renewed, its misses are subscribed to, until nobody asks any more.

    Where the lease has ended all the same, because this machine slept or the controller was gone for longer than that,
    `contract` is opened anew.
    """

    def __init__(self, contract: Open, opened: Answer, nonces: Nonces, now_ns: int) -> None:
        self.contract = contract
        self.standing = Standing.of(opened)
        self.total_misses = 0
        self._nonces = nonces
        lease_s, channel_id = contract.lease_s, opened.channel_id
        third_ns = lease_s * NS_PER_S // RENEWALS_PER_LEASE
        self._lease = Renewal(Renew(channel_id, lease_s), lease_s, nonces, now_ns + third_ns)
        self._misses = Renewal(Subscribe(channel_id, lease_s), lease_s, nonces, now_ns)

    @property
    def wake_ns(self) -> int:
        """When `turn` has something to send next, if nothing is heard before."""
        return min(self._lease.wake_ns, self._misses.wake_ns)

    def turn(self, now_ns: int) -> list[bytes]:
        """The datagrams that are to be sent now."""
        return [datagram for each in (self._lease, self._misses) if (datagram := each.turn(now_ns)) is not None]

    def hear(self, datagram: bytes, now_ns: int) -> Missed | None:
        """Take note of what the controller sent, or somebody else: that is ignored. The call-up in it, if it is one."""
        renewed = self._lease.answer(datagram, now_ns)
        if renewed is not None:
            self._note(renewed, now_ns)
        self._misses.answer(datagram, now_ns)
        missed = self._misses.call_up(datagram)
        if missed is not None:
            self.total_misses = missed.total_misses
        return missed

    def farewell(self) -> bytes:
        """The datagram that ends the subscription. Nobody waits for its answer: otherwise its lease ends it."""
        return encoded(Subscribe(self.standing.channel_id, 0), self._nonces())

    def change(self, change: Change, answer: Answer) -> None:
        """The controller has answered `change` with yes."""
        mentioned = {name: value for name, value in asdict(change).items() if name != "channel_id" and value}
        self.contract = replace(self.contract, **mentioned)
        self.standing = Standing.of(answer)

    def _note(self, answer: Answer, now_ns: int) -> None:
        """The answer to the renewal, or to the opening anew."""
        former = self.standing
        if answer.status == Status.DONE:
            self.standing = Standing.of(answer)
            if former.is_lost or answer.channel_id != former.channel_id:
                self._follow(answer.channel_id, now_ns)
        elif answer.status == Status.UNKNOWN and not former.is_lost:
            self.standing = replace(former, state=State.WAITING, bound_ns=0, reason=answer.reason, is_lost=True)
            self._lease.ask(self.contract, now_ns)
        else:
            self.standing = replace(former, state=State.REFUSED, bound_ns=0, reason=answer.reason, is_lost=True)
            self._lease.ask(self.contract, self._lease.wake_ns)

    def _follow(self, channel_id: int, now_ns: int) -> None:
        """The channel that was opened anew is the one that is renewed and listened to; soon it should be installed."""
        lease_s = self.contract.lease_s
        self._lease.ask(Renew(channel_id, lease_s), min(self._lease.wake_ns, now_ns + AGAIN_NS))
        self._misses.ask(Subscribe(channel_id, lease_s), now_ns)
        self.total_misses = 0


def reply_to(datagram: bytes, nonces: Collection[int]) -> Reply | None:
    """What `datagram` says, if it follows from a request with one of `nonces`."""
    try:
        reply, nonce = decoded_reply(datagram)
    except BadMessage:
        return None
    return reply if nonce in nonces else None
