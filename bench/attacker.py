"""The attacker of `bench hostile`, a process of its own: `python -m bench.attacker PORT COUNT SECONDS SEED`.

Sends genuine messages of a switch with some bytes changed, each with an echo request behind it: the time to the answer,
or until the controller hangs up, is the message's. One that took long is sent again, and its shortest time is what it
takes: a machine that stood still does not do so again for the same message. Prints what it found as JSON.
"""

from __future__ import annotations

import json
import random
import socket
import struct
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass

from bench.openflow_frames import ECHO_REPLY, ECHO_REQUEST, FEATURES_REPLY, GENUINE, HANGING, LARGE, message
from controller.units import NS_PER_MS, NS_PER_S

NOBODY = 0xBAD
TIMEOUT_S = 60.0
LONG_NS, AGAIN = 10 * NS_PER_MS, 5
VALUES = (b"\0\0", b"\0\4", b"\0\7", b"\0\x08", b"\0\x10", b"\xff\xf8", b"\xff\xff")
"""What a length is changed to, beside random bytes."""


@dataclass
class Attack:
    """`longest_ns` is the longest that any message takes, `longest_once_ns` the longest that was seen even once.

    `hung_up` is how often the controller ended the connection.
    """

    frames: int = 0
    hung_up: int = 0
    longest_ns: int = 0
    longest_once_ns: int = 0
    longest_frame: str = ""


class Victim:
    """A connection to the controller, made anew whenever it has hung up."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._connection: socket.socket | None = None
        self._number = 0

    def survives(self, frame: bytes) -> bool:
        """Whether the connection is still there after `frame`."""
        self._number += 1
        mark = struct.pack("!Q", self._number)
        try:
            connection = self._connected()
            connection.sendall(frame + message(ECHO_REQUEST, mark))
            if _answered(connection, message(ECHO_REPLY, mark)):
                return True
        except (ConnectionError, BrokenPipeError):
            pass
        self.close()
        return False

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = None

    def connect(self) -> None:
        """Ready for the next frame, past the handshake."""
        self._connected()

    def _connected(self) -> socket.socket:
        if self._connection is None:
            self._connection = socket.create_connection(("127.0.0.1", self._port), timeout=TIMEOUT_S)
            self._connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            name = message(FEATURES_REPLY, struct.pack("!QIBB2xII", NOBODY, 0, 254, 0, 0, 0))
            self._connection.sendall(GENUINE["hello"] + name + GENUINE["port desc"])
        return self._connection


def _answered(connection: socket.socket, answer: bytes) -> bool:
    received = b""
    while answer not in received:
        if not (part := connection.recv(1 << 16)):
            return False
        received = received[-len(answer) :] + part
    return True


def mutated(random_: random.Random) -> bytes:
    """A genuine message with some bytes changed, put in or cut out; its own length is right again."""
    frame = bytearray(random_.choice(_SAID))
    for _ in range(random_.randint(1, 3)):
        at = random_.randint(8, len(frame)) if len(frame) > 8 else 8
        new = random_.choice(VALUES) if random_.random() < 0.5 else random_.randbytes(random_.randint(0, 4))
        frame[at : at + (len(new) if random_.random() < 0.7 else random_.randint(0, 8))] = new
    frame[2:4] = struct.pack("!H", len(frame))
    return bytes(frame)


def frames(seed: int) -> Iterator[bytes]:
    """The known ones, the largest, then mutated ones without end."""
    yield from HANGING.values()
    yield from LARGE.values()
    random_ = random.Random(seed)
    while True:
        yield mutated(random_)


def attack(victim: Victim, sent: Iterable[bytes], count: int, seconds: float) -> Attack:
    """Send `count` of them, or as many as there is time for."""
    found, end_ns = Attack(), time.monotonic_ns() + round(seconds * NS_PER_S)
    for frame in sent:
        if found.frames >= count or time.monotonic_ns() >= end_ns:
            break
        found.frames += 1
        taken_ns, survives = _sent(victim, frame)
        found.hung_up += not survives
        found.longest_once_ns = max(found.longest_once_ns, taken_ns)
        if taken_ns > LONG_NS:
            taken_ns = min(taken_ns, *(_sent(victim, frame)[0] for _ in range(AGAIN)))
        if taken_ns > found.longest_ns:
            found.longest_ns, found.longest_frame = taken_ns, frame[:200].hex()
    return found


def _sent(victim: Victim, frame: bytes) -> tuple[int, bool]:
    """How long it took, in ns, and whether the connection survived it."""
    victim.connect()
    start_ns = time.monotonic_ns()
    survives = victim.survives(frame)
    return time.monotonic_ns() - start_ns, survives


_SAID = tuple(GENUINE.values())

if __name__ == "__main__":
    port, count, seconds, seed = sys.argv[1:]
    with suppress(KeyboardInterrupt):
        print(json.dumps(asdict(attack(Victim(int(port)), frames(int(seed)), int(count), float(seconds)))), flush=True)
