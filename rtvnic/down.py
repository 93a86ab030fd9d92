"""`rtvnic down`: removes what a run that was killed left behind. `rtvnic up` does so too, at its start.

Neither touches a machine on which a bridge of `rtvnic bridge` is in service.
"""

from __future__ import annotations

import argparse


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "Exit code: 0 when nothing is left, 2 if a network is up, or a bridge of `rtvnic bridge` is in service: then "
        "nothing is touched."
    )


def run(_: argparse.Namespace) -> int:
    from controller.runtime import RUN_DIR

    if RUN_DIR.exists():
        from topologies.testbed import remove_leftovers

        remove_leftovers()
    return 0
