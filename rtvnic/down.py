"""`rtvnic down`: removes what a run that was killed left behind. `rtvnic up` does so too, at its start."""

from __future__ import annotations

import argparse


def arguments(_: argparse.ArgumentParser) -> None:
    """It has none."""


def run(_: argparse.Namespace) -> int:
    from controller.runtime import RUN_DIR

    if RUN_DIR.exists():
        from topologies.testbed import remove_leftovers

        remove_leftovers()
    return 0
