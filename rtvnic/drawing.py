"""Plots, saved as PNG."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from controller.errors import CannotRun

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def save_plot(file: Path, draw: Callable[[Figure], None], size: tuple[float, float] = (8, 5)) -> None:
    """Have `draw` fill an empty plot of `size` inches, and save it. Raises CannotRun if the file cannot be written."""
    from matplotlib.figure import Figure  # slow to import, and most runs draw nothing

    figure = Figure(figsize=size, layout="constrained")
    draw(figure)
    try:
        figure.savefig(file, format="png", dpi=150)
    except OSError as error:
        raise CannotRun(f"cannot write {file}: {error.strerror}", "choose another file") from error
