"""What the hostile experiment sends, measures and concludes; without a controller."""

from __future__ import annotations

import random
import socket
import struct
import threading
from dataclasses import replace
from itertools import islice
from typing import Any

import pytest

from bench import attacker
from bench.attacker import Victim, attack, frames, mutated
from bench.hostile import Outcome, report
from bench.openflow_frames import ECHO_REPLY, ECHO_REQUEST, HANGING, LARGE, message
from bench.report import percentile_ms
from controller.units import NS_PER_MS

ATTACK: dict[str, Any] = {
    "frames": 1000,
    "hung_up": 400,
    "longest_ns": 12 * NS_PER_MS,
    "longest_once_ns": 80 * NS_PER_MS,
    "longest_frame": "04",
}
GOOD = Outcome(ATTACK, [NS_PER_MS] * 10, [2 * NS_PER_MS] * 10, 1024, 12, 10, 20 * NS_PER_MS, 5.0)


class Controller:
    """Answers echo requests late, and hangs up on messages of one kind."""

    def __init__(self, refuses: int, delay_s: float = 0) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.connections = 0
        self._refuses, self._delay_s = refuses, delay_s
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            with self._listener.accept()[0] as connection, connection.makefile("rb") as stream:
                self.connections += 1
                while header := stream.read(8):
                    _, kind, length, _ = struct.unpack("!BBHI", header)
                    body = stream.read(length - 8)
                    if kind == self._refuses:
                        break
                    if kind == ECHO_REQUEST:
                        threading.Event().wait(self._delay_s)
                        connection.sendall(message(ECHO_REPLY, body))


def test_begins_with_what_is_known() -> None:
    known = [*HANGING.values(), *LARGE.values()]
    assert list(islice(frames(1), len(known))) == known


def test_the_same_seed_gives_the_same_messages_of_right_length() -> None:
    made = [mutated(random.Random(seed)) for seed in range(300)]
    assert made == [mutated(random.Random(seed)) for seed in range(300)]
    assert all(len(frame) == struct.unpack_from("!H", frame, 2)[0] for frame in made)


def test_goes_on_after_it_was_hung_up_on() -> None:
    controller = Controller(refuses=10)
    victim = Victim(controller.port)
    found = attack(victim, [message(21), message(10), message(10), message(21), message(21)], 4, 60)
    victim.close()
    assert (found.frames, found.hung_up, controller.connections) == (4, 2, 3)


def test_what_takes_long_is_sent_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attacker, "AGAIN", 2)
    victim = Victim(Controller(refuses=10, delay_s=0.02).port)
    found = attack(victim, [message(21)], 1, 60)
    victim.close()
    assert found.frames == 1
    assert 20 * NS_PER_MS <= found.longest_ns <= found.longest_once_ns
    assert found.longest_frame == message(21).hex()


def test_good_figures_hold() -> None:
    assert report(GOOD).holds
    assert report(GOOD).figures["echo_p99_ms"] == 2.0


@pytest.mark.parametrize(
    "bad",
    [
        replace(GOOD, attack=ATTACK | {"longest_ns": 51 * NS_PER_MS}),
        replace(GOOD, echoes_ns=[6 * NS_PER_MS] * 10),
        replace(GOOD, echoes_ns=[]),
        replace(GOOD, growth_kb=51 * 1024),
        replace(GOOD, threads_after=18),
        replace(GOOD, connect_ns=101 * NS_PER_MS),
        replace(GOOD, dropped_s=float("inf")),
    ],
)
def test_each_figure_has_its_limit(bad: Outcome) -> None:
    assert [verdict.holds for verdict in report(bad).verdicts].count(False) == 1


def test_no_echo_at_all_is_the_worst() -> None:
    assert percentile_ms([], 99) == float("inf")
