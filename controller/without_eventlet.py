"""Imports without eventlet, which `ovs` takes up wherever it finds it: os-ken brings it along, and nobody here uses it.

It would cost each start of a controller a fifth of a second, and it warns. At the time of imports only: one thread.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

NAME = "eventlet"


@contextmanager
def without_eventlet() -> Iterator[None]:
    """What is imported inside the block does not find eventlet, unless somebody has imported it before."""
    modules: dict[str, object] = sys.modules  # type: ignore[assignment]
    is_hidden = NAME not in modules
    if is_hidden:
        modules[NAME] = None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        if is_hidden:
            del modules[NAME]
