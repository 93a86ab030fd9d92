"""What each kind of handler does when it starts. It blocks its thread for a bounded time."""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from controller.handlers import programs
from controller.handlers.declared import Handler, LogEntry, Program, Webhook
from controller.handlers.facts import Facts, environment
from controller.handlers.turns import End, How
from controller.units import DURATION

LOG = logging.getLogger(__name__)

Act = Callable[[Facts], End]
"""Does what a handler is for, and says what came of it. Raises CannotRun."""


def act_of(handler: Handler) -> Act:
    match handler.action:
        case LogEntry():
            return write
        case Program() as program:
            return partial(run, program, handler.timeout_ns)
        case Webhook() as webhook:
            from controller.handlers.webhooks import Courier  # slow to import, and few have any

            return Courier(webhook, handler.timeout_ns).deliver


def write(told: Facts) -> End:
    """An entry in the log, for programs with all that is `told` as fields."""
    worst = DURATION.format(int(told["worst_ns"]))
    counts = told["channel"], told["misses"], told["packets"], worst
    LOG.warning("%s: %d of %d packets were late, by up to %s", *counts, extra=dict(told))
    return End(How.DONE)


def run(program: Program, timeout_ns: int, told: Facts) -> End:
    """The program; what it says goes into the log."""
    ended = programs.run(program, environment(told), timeout_ns)
    if ended.output:
        LOG.info("%s: the handler %s said: %s", told["channel"], told["handler"], ended.output)
    if ended.code is None:
        return End(How.TIMED_OUT, f"had not ended after {DURATION.format(timeout_ns)} and was killed")
    if ended.code < 0:
        return End(How.FAILED, f"was killed by {_signal_name(-ended.code)}")
    return End(How.FAILED, f"ended with exit code {ended.code}") if ended.code else End(How.DONE)


def _signal_name(number: int) -> str:
    """Real-time signals have no names."""
    with suppress(ValueError):
        return signal.Signals(number).name
    return f"signal {number}"
