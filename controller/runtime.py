"""Where running parts of RTvNIC find each other on one machine: sockets and process files below one directory."""

from __future__ import annotations

import os
from pathlib import Path

RUN_DIR = Path(os.environ.get("RTVNIC_RUN_DIR", "/run/rtvnic"))
"""Sockets, process ids and a private Open vSwitch live here; root's own (mode 0700)."""

STATE_DIR = Path(os.environ.get("RTVNIC_STATE_DIR", "/var/lib/rtvnic"))
"""What outlives a run: the channel store's file."""

STORE_SOCKET = RUN_DIR / "store.sock"
"""Where the channel store of this machine answers."""

REST_SOCKET_SUFFIX = ".rest.sock"


def counts_file(domain: str) -> Path:
    """What the controller of `domain` remembers of its switches' counters."""
    return RUN_DIR / f"{domain}.counts.json"


def shim_socket(hypervisor: str) -> Path:
    """The Unix socket on which the shim of `hypervisor` serves its controller."""
    return RUN_DIR / f"{hypervisor}.shim.sock"


def rest_socket(domain: str) -> Path:
    """The Unix socket on which the controller of `domain` serves REST to this machine's root."""
    return RUN_DIR / f"{domain}{REST_SOCKET_SUFFIX}"
