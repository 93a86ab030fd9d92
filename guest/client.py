"""Asks the controller of this VM's hypervisor, and waits for the answer."""

from __future__ import annotations

import secrets
import select
import socket
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from types import TracebackType
from typing import Self

from guest import errors
from guest.messages import (
    CHANNELS_MAX,
    DATAGRAM_MAX,
    Answer,
    List,
    Listed,
    ListedChannel,
    Missed,
    Request,
    Status,
    Subscribe,
    encoded,
)
from guest.route import Way, drops_answers
from guest.session import RENEWALS_PER_LEASE, Question, Renewal
from guest.units import DURATION, NS_PER_MS, NS_PER_S, RATE

PAGES_MAX = 4096
"""Of a list of channels: they have all channel ids that there are."""


def new_nonce() -> int:
    """64 bits that nobody guesses who does not see the request."""
    return secrets.randbits(64)


def readable(files: Iterable[int], end_ns: int) -> set[int]:
    """Those of `files`, open file descriptors, that have something; none of them if the time comes first."""
    waiting = select.poll()
    for each in files:
        waiting.register(each, select.POLLIN)
    wait_ms = max(0, -(-(end_ns - time.monotonic_ns()) // NS_PER_MS))
    return {each for each, _ in waiting.poll(wait_ms)}


class Service:
    """A UDP socket to the service, which is reached by `way`. One thread at a time."""

    def __init__(self, way: Way) -> None:
        self.way = way
        self._socket = way.socket()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    def fileno(self) -> int:
        """Readable when `receive` has something."""
        return self._socket.fileno()

    def ask(self, request: Request) -> Answer:
        """The answer to `request`, which is done. Raises a GuestError that says why not, after some three seconds."""
        return self._ask(request, new_nonce())

    def channels(self) -> list[ListedChannel]:
        """All channels that talk from this VM. Raises a GuestError."""
        found: list[ListedChannel] = []
        for _ in range(PAGES_MAX):
            reply = self._exchange(List(found[-1].channel_id if found else 0), new_nonce())
            if isinstance(reply, Answer):
                _done(reply)
                break
            found += reply.channels
            if len(reply.channels) < CHANNELS_MAX:
                break
        return found

    def misses(self, channel_id: int, lease_s: int) -> Iterator[Missed]:
        """The call-ups of a channel, or of all that talk from this VM (0), as they come. Raises a GuestError."""
        request, nonce = Subscribe(channel_id, lease_s), new_nonce()
        self._ask(request, nonce)  # an error is worth ending for only before anything has come
        due_ns = time.monotonic_ns() + lease_s * NS_PER_S // RENEWALS_PER_LEASE
        renewal = Renewal(request, lease_s, new_nonce, due_ns, answered=nonce)
        try:
            while True:
                missed = self._call_up(renewal)
                if missed is not None:
                    yield missed
        finally:
            self.send(encoded(Subscribe(channel_id, 0), new_nonce()))

    def _call_up(self, renewal: Renewal) -> Missed | None:
        """Send what is due, and wait until something is heard or due. The call-up, if it is one."""
        datagram = renewal.turn(time.monotonic_ns())
        if datagram is not None:
            self.send(datagram)
        heard = self.hear_until(renewal.wake_ns)
        if heard is None:
            return None
        renewal.answer(heard, time.monotonic_ns())
        return renewal.call_up(heard)

    def send(self, datagram: bytes) -> None:
        """Nobody knows whether it arrives: an interface that is down is as good as a loss on the way."""
        with suppress(OSError):
            self._socket.sendto(datagram, self.way.address)

    def receive(self) -> bytes | None:
        """What came from the service; None where it came from elsewhere, or nothing is there after all."""
        with suppress(OSError):
            datagram, sender = self._socket.recvfrom(DATAGRAM_MAX + 1, socket.MSG_DONTWAIT)
            if self.way.is_from_service(sender):
                return datagram
        return None

    def hear_until(self, end_ns: int) -> bytes | None:
        """The next datagram from the service; None if the time comes first, or one from elsewhere."""
        return self.receive() if readable([self.fileno()], end_ns) else None

    def _ask(self, request: Request, nonce: int) -> Answer:
        reply = self._exchange(request, nonce)
        if not isinstance(reply, Answer):
            raise errors.NoService("what answers is no controller: it told of channels, which nobody had asked for")
        return _done(reply)

    def _exchange(self, request: Request, nonce: int) -> Answer | Listed:
        question = Question(request, nonce, time.monotonic_ns())
        while True:
            datagram = question.turn(time.monotonic_ns())
            if question.is_over:
                raise self._silence(question)
            if datagram is not None:
                self.send(datagram)
            heard = self.hear_until(question.wake_ns)
            reply = question.answer(heard) if heard is not None else None
            if reply is not None:
                return reply

    def _silence(self, question: Question) -> errors.CannotAsk:
        if question.is_busy:
            return errors.Busy("the controller answers that it has too much to do; ask again later")
        if drops_answers(self.way):
            name = socket.if_indextoname(self.way.interface)
            return errors.NoService(
                f"no answer: this VM drops what comes from the service while no route leads there (rp_filter); "
                f"run ip route add {self.way.host} dev {name}"
            )
        return errors.NoService(
            f"no answer from {self.way.host}: is this VM's hypervisor running rtvnic, "
            f"and does the topology file give the VM a quota?"
        )


def _done(answer: Answer) -> Answer:
    """`answer`, if what was asked for is done. Raises a GuestError."""
    reason = "; ".join(answer.reason.splitlines()) or f"the controller says no (status {answer.status})"
    if answer.status == Status.DONE:
        return answer
    if answer.status == Status.REFUSED:
        raise errors.Refused(reason + _offer(answer), answer.deadline_ns or None, answer.rate_bps or None)
    kinds: dict[int, type[errors.AnswerIsNo]] = {
        Status.INVALID: errors.Invalid,
        Status.OVER_QUOTA: errors.OverQuota,
        Status.UNKNOWN: errors.UnknownChannel,
        Status.CONFLICT: errors.Conflict,
    }
    raise kinds.get(answer.status, errors.AnswerIsNo)(reason)


def _offer(refusal: Answer) -> str:
    """What admission would accept, to follow the reason."""
    deadline = f"a deadline of {DURATION.format(refusal.deadline_ns)}" if refusal.deadline_ns else ""
    rate = f"a rate of {RATE.format(refusal.rate_bps)}" if refusal.rate_bps else ""
    return f"; {' or '.join(filter(None, (deadline, rate)))} would do" if deadline or rate else ""
