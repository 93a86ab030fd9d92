"""Text tables for people: columns aligned, numbers to the right."""

from __future__ import annotations

import re
from collections.abc import Sequence

_NUMBER = re.compile(r"[-+<>≤≥]*\d[\d,]*(\.\d+)?\s?[A-Za-zµ%/]*")


def aligned(headers: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """The table as lines without trailing spaces. Each row has a cell per header; None is shown as `-`.

    A column is set to the right when all of its cells are numbers, with or without a unit (`3.0`, `<0.1`, `12ms`).
    """
    cells = [["-" if cell is None else str(cell) for cell in row] for row in rows]
    columns = [[header, *(row[index] for row in cells)] for index, header in enumerate(headers)]
    lines = zip(*(_column(column) for column in columns), strict=True)
    return "\n".join("  ".join(line).rstrip() for line in lines)


def _column(texts: list[str]) -> list[str]:
    width = max(map(len, texts))
    right = len(texts) > 1 and all(map(_is_number, texts[1:]))
    return [text.rjust(width) if right else text.ljust(width) for text in texts]


def _is_number(text: str) -> bool:
    return text == "-" or _NUMBER.fullmatch(text) is not None
