"""A channel's terms, as core/terms.h has them. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Late(StrEnum):
    """What becomes of a packet that can no longer be on time: it gives way, is dropped, or goes on as before."""

    DEMOTE = "demote"
    DROP = "drop"
    KEEP = "keep"


@dataclass(frozen=True)
class Terms:
    """A channel's terms at this link. `rate_bps` and `burst_bytes` count on the wire; a rate of 0 is no contract.

    `downstream_ns` is what the path after this link needs of the deadline. Of a lateness, up to `clock_error_ns` may be
    the clocks'. Excess of a channel that is shaped waits until the contract allows it.
    """

    rate_bps: int = 0
    burst_bytes: int = 0
    downstream_ns: int = 0
    late: Late = Late.DEMOTE
    strips_labels: bool = False
    is_shaped: bool = False
    clock_error_ns: int = 0
