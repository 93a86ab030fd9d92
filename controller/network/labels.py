"""The two MPLS labels of a channel's packet, and the arithmetic of deadlines that wrap.

Outermost the deadline label, then the channel label (the S-Label of RFC 8964). Labels 0-15 are reserved (RFC 7274). The
C data plane has the same definitions in `dataplane/core/labels.h`; a test holds the two together.
"""

from __future__ import annotations

import zlib
from collections.abc import Container, Iterable

from controller.errors import Conflict

TICK_NS = 10_000
FIRST_LABEL = 16
LABEL_COUNT = (1 << 20) - FIRST_LABEL
CHANNEL_LABEL_COUNT = (1 << 16) - FIRST_LABEL
"""Channel labels end at 65535, so that they can be meter numbers too; deadline labels have the whole range."""

TTL_RELATIVE = 255
TTL_STAMPED = 254
TTL_UNSURE = 127
"""Stamped as well, by a clock that had just been set: the stamp says nothing."""

TTL_CHANNEL = 64
MIN_DEADLINE_NS = FIRST_LABEL * TICK_NS
MAX_DEADLINE_NS = 5_000_000_000


def relative_deadline_label(deadline_ns: int) -> int:
    """The deadline label before the shim: `deadline_ns` in ticks, rounded down. Raises ValueError outside its range."""
    if not MIN_DEADLINE_NS <= deadline_ns <= MAX_DEADLINE_NS:
        raise ValueError(f"deadline {deadline_ns} ns is outside {MIN_DEADLINE_NS} to {MAX_DEADLINE_NS} ns")
    return deadline_ns // TICK_NS


def absolute_deadline_label(deadline_wall_ns: int) -> int:
    """The deadline label after the shim: the instant in ticks, rounded down, modulo the label space."""
    return FIRST_LABEL + (deadline_wall_ns // TICK_NS) % LABEL_COUNT


def lateness_ns(label: int, now_wall_ns: int) -> int:
    """How long after the stamped deadline `now_wall_ns` is; negative when early. Valid within half a wrap (5.2 s)."""
    period_ns = LABEL_COUNT * TICK_NS
    ahead_ns = (now_wall_ns - (label - FIRST_LABEL) * TICK_NS) % period_ns
    return ahead_ns - period_ns if ahead_ns >= period_ns // 2 else ahead_ns


def assign_channel_labels(names: Iterable[str]) -> dict[str, int]:
    """One label per channel name. A name keeps its label when others come and go, save for rare hash collisions."""
    labels: dict[str, int] = {}
    taken: set[int] = set()
    for name in sorted(names):
        labels[name] = free_label(name, taken)
        taken.add(labels[name])
    return labels


def free_label(name: str, taken: Container[int]) -> int:
    """The channel label for `name`: that of its hash, or the next that is not `taken`. Raises Conflict if all are."""
    start = zlib.crc32(name.encode()) % CHANNEL_LABEL_COUNT
    for step in range(CHANNEL_LABEL_COUNT):
        label = FIRST_LABEL + (start + step) % CHANNEL_LABEL_COUNT
        if label not in taken:
            return label
    raise Conflict(f"all {CHANNEL_LABEL_COUNT} channel labels are taken; remove channels first")
