"""The handlers of misses as immutable data: what `on_miss` of a channel may name, and what a topology file says of it.

What runs, and who is told, is the operator's to say, in the file. A channel, for which others may ask, names it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

LOG, GUEST, ADAPT = "log", "guest", "adapt"
BUILT_IN = (LOG, GUEST, ADAPT)
"""Handlers that need no declaration."""

UNPRIVILEGED = "nobody"


@dataclass(frozen=True)
class LogEntry:
    """An entry in the controller's own log."""

    kind: ClassVar[str] = "log"


@dataclass(frozen=True)
class Program:
    """`words[0]`, an absolute path, is run by `user` with the other words as its arguments. No shell reads them."""

    kind: ClassVar[str] = "exec"
    words: tuple[str, ...]
    user: str = UNPRIVILEGED


@dataclass(frozen=True)
class Webhook:
    """A POST to `url`, signed with the key in the file `secret`."""

    kind: ClassVar[str] = "webhook"
    url: str
    secret: Path


@dataclass(frozen=True)
class Handler:
    """One that channels may name. Of one channel's misses it starts once in `every_ns`, and then has `timeout_ns`."""

    name: str
    action: LogEntry | Program | Webhook
    every_ns: int
    timeout_ns: int
