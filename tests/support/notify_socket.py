"""What systemd's end of $NOTIFY_SOCKET hears."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Self

from support.waiting import PATIENCE_S


class NotifySocket:
    """A datagram socket at `address`: a path, or @NAME for a name of the kernel's."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.settimeout(PATIENCE_S)
        self._socket.bind("\0" + address[1:] if address.startswith("@") else address)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()
        if self.address.startswith("/"):
            Path(self.address).unlink()

    def environment(self, watchdog_s: float | None = None) -> dict[str, str]:
        """Of a process that systemd starts, with WatchdogSec if that is given."""
        watchdog = {} if watchdog_s is None else {"WATCHDOG_USEC": str(round(watchdog_s * 1_000_000))}
        return os.environ | {"NOTIFY_SOCKET": self.address} | watchdog

    def next(self) -> str:
        """The next state. Raises TimeoutError."""
        return self._socket.recv(4096).decode()

    def next_besides(self, *expected: str) -> str:
        """The next state that is none of `expected`."""
        while (state := self.next()) in expected:
            pass
        return state

    def is_silent(self, seconds: float) -> bool:
        self._socket.settimeout(seconds)
        try:
            self._socket.recv(4096)
        except TimeoutError:
            return True
        finally:
            self._socket.settimeout(PATIENCE_S)
        return False
