"""What handlers of misses are given in tests, and a webhook's receiver."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, BinaryIO

from support.networks import two_hypervisors

from controller.handlers.facts import Facts, facts
from controller.handlers.turns import Start
from controller.model import Channel
from controller.peering.messages import MissReport
from controller.units import NS_PER_MS

CHANNEL = two_hypervisors().channels["video"]
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def reported(channel: str = "video", **given: Any) -> MissReport:
    """A report of one miss of two packets, late by 3 ms, or what is given."""
    numbers = {
        "misses": 1,
        "packets": 2,
        "worst_ns": 3 * NS_PER_MS,
        "mean_ns": 3 * NS_PER_MS,
        "window_ns": 100 * NS_PER_MS,
        "total_misses": 7,
        "clock_error_ns": 10,
        "first_at_ns": 1_000,
    }
    return MissReport(channel=channel, **numbers | given)


def told(handler: str = "pager", channel: Channel = CHANNEL, **given: Any) -> Facts:
    return facts(handler, "left", Start(channel, reported(channel.name, **given)), started_at_ns=2_000)


def program(path: Path, *lines: str) -> str:
    """An executable shell script of these lines; its path."""
    path.write_text("\n".join(["#!/bin/sh", *lines, ""]))
    path.chmod(0o755)
    return str(path)


def secret_file(directory: Path, text: str = SECRET) -> Path:
    path = directory / "board.secret"
    path.write_text(f"{text}\n")
    path.chmod(0o600)
    return path


@dataclass(frozen=True)
class Delivery:
    headers: dict[str, str]
    body: bytes


def answer_with(status: int, *headers: str) -> Callable[[BinaryIO], None]:
    """A whole answer of that status, with nothing in it."""
    head = "\r\n".join([f"HTTP/1.1 {status} Said", "Content-Length: 0", *headers, "", ""])

    def answer(stream: BinaryIO) -> None:
        stream.write(head.encode())

    return answer


class Receiver:
    """A webhook's receiver on this machine, within a with block. `answers` are used up in turn; then it says 204."""

    def __init__(self, *answers: Callable[[BinaryIO], None]) -> None:
        self.answers = list(answers)
        self.deliveries: list[Delivery] = []
        self.is_over = threading.Event()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.deliveries.append(Delivery({name.lower(): text for name, text in self.headers.items()}, body))
                answer = receiver.answers.pop(0) if receiver.answers else answer_with(204)
                with suppress(OSError):  # who has sent it does not wait
                    answer(self.wfile)  # type: ignore[arg-type]
                self.close_connection = True

            def log_message(self, *_: Any) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)

    def __enter__(self) -> Receiver:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.is_over.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/misses"

    def hold(self, _: BinaryIO) -> None:
        """Say nothing until the test is over."""
        self.is_over.wait(10)

    def drip(self, stream: BinaryIO) -> None:
        """Say a byte of the head now and then until the test is over."""
        stream.write(b"HTTP/1.1 200 Said\r\nX-Long: ")
        while not self.is_over.wait(0.01):
            stream.write(b"x")
            stream.flush()
