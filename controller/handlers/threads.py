"""The handlers of a controller at work, each in threads of its own.

Guarantee: `handle` returns at once, whatever handlers do; one that hangs or fails holds up no other; at most AT_ONCE
starts of one handler run at a time. What becomes of a start is counted, and of one that failed the log tells.
"""

from __future__ import annotations

import logging
import threading
import time

from controller.errors import CannotRun
from controller.handlers.acts import Act, act_of
from controller.handlers.declared import ADAPT, GUEST, LOG, Handler, LogEntry
from controller.handlers.facts import facts
from controller.handlers.turns import End, How, Start, Turns
from controller.model import Channel, Network
from controller.peering.messages import MissReport
from controller.rest.resources import HandlerView
from controller.units import NS_PER_S

LOGGER = logging.getLogger(__name__)
AT_ONCE = 4
ELSEWHERE = (GUEST, ADAPT)
"""Built-in handlers that are none of this module's."""

LOG_HANDLER = Handler(LOG, LogEntry(), every_ns=NS_PER_S, timeout_ns=0)
"""Writing to the log is not stopped: it has no time-out."""


class Handlers:
    """Those of `network`, for the channels that talk from `domain`. Any thread may use it."""

    def __init__(self, network: Network, domain: str) -> None:
        self._file = network.file
        handlers = (LOG_HANDLER, *network.handlers.values())
        self._workers = {each.name: _Workers(each, domain, act_of(each)) for each in handlers}

    def start(self) -> None:
        for workers in self._workers.values():
            workers.start()

    def handle(self, channel: Channel, report: MissReport) -> None:
        """Have what the channel asks for started, now or at its turn."""
        for name in channel.on_miss:
            if workers := self._workers.get(name):
                workers.add(channel, report)
            elif name not in ELSEWHERE:
                LOGGER.warning("%s: no handler '%s' was in %s when this controller was started; add it, and restart",
                    channel.name, name, self._file)  # fmt: skip

    def read(self) -> list[HandlerView]:
        """How each does."""
        return [workers.read() for workers in self._workers.values()]


class _Workers:
    """One handler, its turns and its threads."""

    def __init__(self, handler: Handler, domain: str, act: Act) -> None:
        self._handler = handler
        self._domain = domain
        self._act = act
        self._turns = Turns(handler.every_ns)
        self._changed = threading.Condition()

    def start(self) -> None:
        for _ in range(AT_ONCE):
            threading.Thread(target=self._work, name=f"handler {self._handler.name}", daemon=True).start()

    def add(self, channel: Channel, report: MissReport) -> None:
        with self._changed:
            self._turns.add(channel, report, time.monotonic_ns())
            self._changed.notify()

    def read(self) -> HandlerView:
        with self._changed:
            counts, waiting, running = self._turns.counts, self._turns.waiting, self._turns.running
        return HandlerView(
            domain=self._domain,
            name=self._handler.name,
            kind=self._handler.action.kind,
            every_ns=self._handler.every_ns,
            timeout_ns=self._handler.timeout_ns,
            waiting=waiting,
            running=running,
            **vars(counts),
        )

    def _work(self) -> None:
        while True:
            start = self._next()
            end = self._carry_out(start)
            with self._changed:
                self._turns.end(start, end, time.monotonic_ns())
                self._changed.notify()

    def _next(self) -> Start:
        """The next start, as soon as it is due."""
        with self._changed:
            while True:
                now_ns = time.monotonic_ns()
                if start := self._turns.take(now_ns):
                    return start
                due_ns = self._turns.due_ns
                self._changed.wait(None if due_ns is None else (due_ns - now_ns) / NS_PER_S)

    def _carry_out(self, start: Start) -> End:
        """What came of `start`, whatever happens. The log has what went wrong."""
        try:
            end = self._act(facts(self._handler.name, self._domain, start, time.time_ns()))
        except CannotRun as error:
            end = End(How.FAILED, f"could not run: {error}")
        except Exception as error:
            LOGGER.exception("the handler %s", self._handler.name)
            end = End(How.FAILED, f"broke: {type(error).__name__}")
        if end.how is not How.DONE:
            LOGGER.warning("%s: the handler %s %s", start.channel.name, self._handler.name, end.why)
        return end
