"""Quantities as people write them (`5ms`, `2Mbps`, `1500B`) and as the datagrams carry them (ns, bit/s, bytes, s).

The same words as in a topology file, which a test holds equal. A number without a unit is an error, never a guess.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from guest.errors import Invalid

NS_PER_MS = 1_000_000
NS_PER_S = 1_000_000_000

_QUANTITY = re.compile(r"(?P<number>\d{1,12}(?:\.\d{1,9})?)\s*(?P<unit>[A-Za-z]+)?")
_U32_MAX = 2**32 - 1
_U64_MAX = 2**64 - 1


@dataclass(frozen=True)
class Quantity:
    """One kind of quantity: its units in the base unit, an example for messages, and the most that a datagram holds."""

    kind: str
    units: Mapping[str, int]
    example: str
    maximum: int

    def parse(self, text: str) -> int:
        """`text` in the base unit, more than 0. Raises Invalid; a fraction of the base unit is rounded down."""
        found = _QUANTITY.fullmatch(text.strip())
        if found is None:
            raise Invalid(f"'{text}' is not a {self.kind}; write {self.example}")
        if found["unit"] is None:
            raise Invalid(f"'{text}' has no unit; write {self.example}")
        if found["unit"] not in self.units:
            raise Invalid(f"'{text}' has an unknown unit '{found['unit']}'; allowed: {', '.join(self.units)}")
        value = int(Decimal(found["number"]) * self.units[found["unit"]])
        if not 0 < value <= self.maximum:
            raise Invalid(f"'{text}' is {'too large' if value else 'nothing'}; write {self.example}")
        return value

    def optional(self, text: str | None) -> int:
        """As `parse`; 0, which stands for a default in every datagram, where there is no text."""
        return 0 if text is None else self.parse(text)

    def format(self, value: int) -> str:
        """`value` (base unit) in the largest unit that it has at least one of, in four digits."""
        unit = max((unit for unit, size in self.units.items() if size <= value), key=self.units.__getitem__, default="")
        return f"{value / self.units[unit]:.4g}{unit}" if unit else str(value)


DURATION = Quantity("duration", {"ns": 1, "us": 1000, "ms": NS_PER_MS, "s": NS_PER_S}, "5ms or 500us", _U64_MAX)
RATE = Quantity("rate", {"bps": 1, "kbps": 10**3, "Mbps": 10**6, "Gbps": 10**9}, "2Mbps or 500kbps", _U64_MAX)
SIZE = Quantity("size", {"B": 1, "kB": 10**3, "MB": 10**6, "KiB": 2**10, "MiB": 2**20}, "64kB or 1500B", _U32_MAX)
LEASE = Quantity("lease", {"s": 1}, "30s", _U32_MAX)
