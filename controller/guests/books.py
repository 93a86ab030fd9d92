"""What a controller counts of each VM that may ask. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class GuestBook:
    """Of one VM, since the controller began; `subscriptions` are those of the moment.

    `malformed` frames were no questions, `busy` ones were to be asked again, `crowded_out` ones found too many of the
    same VM waiting, as did the reports of misses in `call_ups_dropped`. `refused`: answered with a no.
    """

    requests: int = 0
    refused: int = 0
    busy: int = 0
    malformed: int = 0
    crowded_out: int = 0
    call_ups: int = 0
    call_ups_dropped: int = 0
    subscriptions: int = 0
