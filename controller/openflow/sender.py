"""One thread for each connected switch: sends what the domain orders, and says when the switch has confirmed it.

A batch is confirmed by the answer to the barrier behind it, refused by an error that names one of its messages. The
next batch waits for that, so errors are never taken for another batch's. os-ken's threads bring the answers.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from controller.domain.events import (
    AskContents,
    AskMeters,
    AskQueues,
    Confirmed,
    Contents,
    ContentsReported,
    Event,
    MetersReported,
    PortReported,
    QueueCount,
    QueuesReported,
    Refused,
    Send,
)
from controller.openflow import messages
from controller.openflow.counts import Traffic
from controller.openflow.pipeline import AnyMeter, Entry, Group

LOG = logging.getLogger(__name__)
BARRIER_TIMEOUT_S = 5.0
ORDERS_MAX = 1000
CONTENTS_MAX = 1 << 18
"""Flows, groups, meters and queues that a switch may tell of before it says that these were all."""

Question = AskContents | AskQueues | AskMeters
Order = Send | Question


class Sender:
    """The conversation with one switch, `bridge`, from its handshake to `stop`. `post` takes what the domain hears."""

    def __init__(self, bridge: str, datapath: Any, post: Callable[[Event], None]) -> None:
        self.bridge = bridge
        self.datapath = datapath
        self._post = post
        self._orders: queue.Queue[Order | None] = queue.Queue(ORDERS_MAX)
        self._waiting: set[Question] = set()
        self._entries: dict[int, Entry | None] = {}
        self._refusals: list[tuple[Entry, str]] = []
        self._awaited = (0, threading.Event())
        self._is_stopped = False
        self._flows: dict[int, Traffic] = {}
        self._groups: dict[int, Group | None] = {}
        self._meters: dict[int, AnyMeter | None] = {}
        self._dropped: dict[int, int] = {}
        self._queues: list[QueueCount] = []
        self._closed_ports = messages.closed_ports(datapath)
        self._thread = threading.Thread(target=self._run, name=f"sender of {bridge}", daemon=True)
        self._thread.start()

    def order(self, order: Order) -> None:
        """Carry out `order` after those before it; a question that waits already is not asked twice.

        A switch that is too far behind is hung up on; what it lacks is sent when it connects again. Waits for nobody.
        """
        if isinstance(order, Question):
            if order in self._waiting:
                return
            self._waiting.add(order)
        try:
            self._orders.put_nowait(order)
        except queue.Full:
            LOG.warning("the switch %s is too slow, %d orders wait for it: hung up", self.bridge, ORDERS_MAX)
            self.datapath.hang_up()

    def send_packet(self, port: int, frame: bytes) -> None:
        """Have the switch send `frame` by `port`, past the orders. Any thread; waits if the switch is slow."""
        self.datapath.send_msg(messages.packet_out(self.datapath, port, frame))

    def stop(self) -> None:
        """End the thread; nothing is posted any more. Does not wait."""
        self._is_stopped = True
        self._post = lambda _: None
        self._awaited[1].set()
        with suppress(queue.Full):  # then an order wakes the thread as well
            self._orders.put_nowait(None)

    def on_barrier(self, xid: int) -> None:
        awaited_xid, answered = self._awaited
        if xid == awaited_xid:
            answered.set()

    def on_error(self, xid: int, why: str) -> None:
        try:
            entry = self._entries.pop(xid)  # a second error for one message is not kept
        except KeyError:
            LOG.warning("the switch %s: %s", self.bridge, why)
        else:
            if entry is not None:
                self._refusals.append((entry, why))

    def on_groups(self, multipart: Any) -> None:
        self._groups |= messages.groups_answer(multipart.body)
        self._check_length()

    def on_meter_settings(self, multipart: Any) -> None:
        self._meters |= messages.meter_settings_answer(multipart.body)
        self._check_length()

    def on_flows(self, multipart: Any) -> None:
        """The last of the answers to AskContents, and its parts."""
        for cookie, traffic in messages.flows_answer(multipart.body).items():
            self._flows[cookie] = self._flows.get(cookie, Traffic()) + traffic
        if messages.is_last_part(multipart):
            contents = Contents(self._flows, self._groups, self._meters, frozenset(self._closed_ports))
            self._flows, self._groups, self._meters = {}, {}, {}
            self._post(ContentsReported(self.bridge, contents))
        self._check_length()

    def on_queues(self, multipart: Any) -> None:
        self._queues += messages.queues_answer(multipart.body)
        if messages.is_last_part(multipart):
            queues, self._queues = self._queues, []
            self._post(QueuesReported(self.bridge, tuple(queues)))
        self._check_length()

    def on_meters(self, multipart: Any) -> None:
        self._dropped |= messages.meters_answer(multipart.body)
        if messages.is_last_part(multipart):
            dropped, self._dropped = self._dropped, {}
            self._post(MetersReported(self.bridge, dropped))
        self._check_length()

    def on_port(self, port: Any) -> None:
        (self._closed_ports.add if messages.is_closed(port) else self._closed_ports.discard)(port.port_no)
        self._post(PortReported(self.bridge, port.port_no, not messages.is_down(port)))

    def _check_length(self) -> None:
        """Hang up on a switch that tells without end."""
        contents = len(self._flows) + len(self._groups) + len(self._meters)
        if contents + len(self._dropped) + len(self._queues) > CONTENTS_MAX:
            LOG.warning("the switch %s tells of more than %d entries: hung up", self.bridge, CONTENTS_MAX)
            self._flows, self._groups, self._meters, self._dropped, self._queues = {}, {}, {}, {}, []
            self.datapath.hang_up()

    def _run(self) -> None:
        while (order := self._orders.get()) is not None and not self._is_stopped:
            if isinstance(order, Question):
                self._waiting.discard(order)
            match order:
                case Send():
                    self._send(order)
                case AskContents():
                    for question in messages.contents_questions(self.datapath):
                        self.datapath.send_msg(question)
                case AskQueues():
                    self.datapath.send_msg(messages.queues_question(self.datapath))
                case AskMeters():
                    self.datapath.send_msg(messages.meters_question(self.datapath))

    def _send(self, batch: Send) -> None:
        self._entries.clear()
        self._refusals.clear()
        for entry in batch.entries:
            self._send_entry(entry)
        barrier, answered = messages.barrier(self.datapath), threading.Event()
        self._awaited = (self.datapath.set_xid(barrier), answered)
        self.datapath.send_msg(barrier)
        if not self._is_stopped and not answered.wait(BARRIER_TIMEOUT_S):
            self._post(Refused(self.bridge, batch.batch, None, f"no answer within {BARRIER_TIMEOUT_S:g} s"))
        for entry, why in self._refusals:
            LOG.error("the switch %s refuses %s: %s", self.bridge, entry, why)
            self._post(Refused(self.bridge, batch.batch, entry, why))
        self._post(Confirmed(self.bridge, batch.batch))

    def _send_entry(self, entry: Entry) -> None:
        try:
            self._send_messages(entry)
        except messages.UnknownPortError as error:
            self._refusals.append((entry, str(error)))
        except Exception as error:  # whatever os-ken raises for a value that has no room in its message
            self._refusals.append((entry, f"there is no message for it: {error}"))

    def _send_messages(self, entry: Entry) -> None:
        *tries, message = messages.messages(self.datapath, entry)
        for attempt in tries:
            self._entries[self.datapath.set_xid(attempt)] = None
            self.datapath.send_msg(attempt)
        self._entries[self.datapath.set_xid(message)] = entry
        self.datapath.send_msg(message)
