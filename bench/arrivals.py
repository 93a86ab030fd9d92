"""What a list of arrived packets says: duplicates, reordering, delay. Pure; percentiles are by nearest rank."""

from __future__ import annotations

from collections.abc import Sequence

PERCENTILES = {"p50": 500, "p90": 900, "p99": 990, "p999": 999}
"""Name and rank in thousandths."""


def duplicates(sequences: Sequence[int]) -> int:
    """How many of these sequence numbers had been there before."""
    return len(sequences) - len(set(sequences))


def reordered(sequences: Sequence[int]) -> int:
    """How many packets came after one of a higher sequence number (RFC 4737). A second copy does not count."""
    seen: set[int] = set()
    highest, count = -1, 0
    for sequence in sequences:
        count += sequence < highest and sequence not in seen
        seen.add(sequence)
        highest = max(highest, sequence)
    return count


def percentile(ordered: Sequence[int], thousandths: int, whole: int = 1000) -> int:
    """The smallest value that `thousandths` of all do not exceed, or parts of another `whole`. `ordered` ascends and is
    not empty."""
    rank = -(-len(ordered) * thousandths // whole)
    return ordered[max(rank, 1) - 1]


def summary(values: Sequence[int]) -> dict[str, int | float | None]:
    """count, min, mean, percentiles and max, in the unit of `values`; None for each but count when there are none."""
    if not values:
        return {"count": 0, **dict.fromkeys(["min", "mean", *PERCENTILES, "max"])}
    ordered = sorted(values)
    ranks = {name: percentile(ordered, thousandths) for name, thousandths in PERCENTILES.items()}
    return {
        "count": len(ordered),
        "min": ordered[0],
        "mean": round(sum(ordered) / len(ordered), 1),
        **ranks,
        "max": ordered[-1],
    }
