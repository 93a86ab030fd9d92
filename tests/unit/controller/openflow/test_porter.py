"""Who lets connections in, when the system has no thread for one."""

from __future__ import annotations

import queue
import socket
import threading
from contextlib import suppress
from typing import Any

import pytest

from controller.openflow.connections import Connections
from controller.openflow.porter import Porter

PATIENCE_S = 10


def test_a_connection_that_no_thread_can_be_started_for_ends_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    start, refused = threading.Thread.start, []

    def refuse_the_first(thread: threading.Thread) -> None:
        if thread.name.startswith("switch at") and not refused:
            refused.append(thread)
            raise RuntimeError("can't start new thread")
        start(thread)

    served: queue.Queue[Any] = queue.Queue()
    complaints: queue.Queue[str] = queue.Queue()
    listener = socket.create_server(("127.0.0.1", 0))
    Porter(listener, Connections(), lambda *words: served.put(words), lambda _, why: complaints.put(why)).start()
    monkeypatch.setattr(threading.Thread, "start", refuse_the_first)
    for _ in range(2):
        with socket.create_connection(listener.getsockname(), timeout=PATIENCE_S) as connection:
            connection.sendall(b"x")
            with suppress(ConnectionResetError):
                assert connection.recv(1) == b"", "it is closed"
    assert complaints.get(timeout=PATIENCE_S) == "can't start new thread"
    assert served.qsize() == 1
