"""Quantities with units, as people write them (`3ms`, `2Mbps`, `64kB`) and as integers (ns, bit/s, bytes).

Decimal arithmetic: `0.1ms` is exactly 100,000 ns. A number without a unit is an error, never a guess.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

NS_PER_US = 1_000
NS_PER_MS = 1_000_000
NS_PER_S = 1_000_000_000

_QUANTITY = re.compile(r"(?P<number>\d{1,12}(?:\.\d{1,9})?)\s*(?P<unit>[A-Za-zµ][A-Za-z/]*)?")


class UnitError(ValueError):
    """Text that is not a quantity of the wanted kind. The message says what was found and what is allowed."""


@dataclass(frozen=True)
class Quantity:
    """One kind of quantity: its units in the base unit, and an example for error messages."""

    kind: str
    units: Mapping[str, int]
    example: str

    def parse(self, text: str) -> int:
        """`text` in the base unit. Raises UnitError; a fraction of the base unit is rounded down."""
        found = _QUANTITY.fullmatch(text.strip())
        if found is None:
            raise UnitError(f"'{text}' is not a {self.kind}; write {self.example}")
        unit = found["unit"]
        if unit is None:
            raise UnitError(f"'{text}' has no unit; write {self.example}")
        if unit not in self.units:
            raise UnitError(f"'{text}' has an unknown unit '{unit}'; allowed: {', '.join(self.units)}")
        return int(Decimal(found["number"]) * self.units[unit])

    def format(self, value: int) -> str:
        """`value` (base unit) in four digits: in the largest unit in which they are exact, else in the largest one."""
        by_size = sorted(self.units.items(), key=lambda item: item[1], reverse=True)
        fitting = [(Decimal(f"{value / size:.4g}"), unit) for unit, size in by_size if abs(value) >= size]
        exact = [(number, unit) for number, unit in fitting if number * self.units[unit] == value]
        number, unit = next(iter(exact or fitting), (Decimal(value), by_size[-1][0]))
        return f"{number:f}{unit}"


DURATION = Quantity("duration", {"ns": 1, "us": NS_PER_US, "ms": NS_PER_MS, "s": NS_PER_S}, "5ms or 500us")
RATE = Quantity("rate", {"bps": 1, "kbps": 10**3, "Mbps": 10**6, "Gbps": 10**9}, "2Mbps or 500kbps")
SIZE = Quantity("size", {"B": 1, "kB": 10**3, "MB": 10**6, "KiB": 2**10, "MiB": 2**20}, "64kB or 1500B")


def ms(value_ns: float) -> str:
    """Nanoseconds as milliseconds with three decimals, for tables."""
    return f"{value_ns / NS_PER_MS:.3f}"
