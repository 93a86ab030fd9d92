"""The other side of an OpenFlow 1.3 connection, by hand: a switch on a TCP socket that answers as it is told to."""

from __future__ import annotations

import queue
import socket
import ssl
import struct
import threading
from collections.abc import Sequence
from contextlib import suppress
from enum import IntEnum

VERSION = 4
HEADER = struct.Struct("!BBHI")
FEATURES = struct.Struct("!QIBB2xII")
PORT = struct.Struct("!I4x6s2x16sII24x")
FLOW_MOD = struct.Struct("!QQxB")
MULTIPART = struct.Struct("!HH4x")
FLOW_STATS = struct.Struct("!HBxIIHHHH4xQQQ")
EMPTY_MATCH = struct.pack("!HH4x", 1, 4)
QUEUE_STATS = struct.Struct("!IIQQQII")
METER_STATS = struct.Struct("!IH6xIQQII")
BAND_STATS = struct.Struct("!QQ")
PORT_STATUS = struct.Struct("!B7x")
PACKET_OUT = struct.Struct("!IIH6x")
OUTPUT = struct.Struct("!HHIH6x")
MODIFIED = 2
LINK_DOWN = 1
ERROR = struct.Struct("!HH")
FLOW, QUEUE, METER, PORT_DESC = 1, 5, 9, 13
REPLY_MORE = 1
ADD = 0
PATIENCE_S = 20.0


class Type(IntEnum):
    HELLO = 0
    ERROR = 1
    ECHO_REQUEST = 2
    ECHO_REPLY = 3
    FEATURES_REQUEST = 5
    FEATURES_REPLY = 6
    PORT_STATUS = 12
    PACKET_OUT = 13
    FLOW_MOD = 14
    GROUP_MOD = 15
    MULTIPART_REQUEST = 18
    MULTIPART_REPLY = 19
    BARRIER_REQUEST = 20
    BARRIER_REPLY = 21


class OpenFlowSwitch:
    """Connects at once and answers in a thread until `close`. What it gets, save echoes, is in `received`.

    `refuses` are the places, counted from 0, of the FLOW_MODs that it answers with OFPFMFC_TABLE_FULL. `flows` is what
    it tells of its flows, in as many parts as there are lists; None: those that it was sent, without any packets.
    `packets` are those that it was to send, each with its port. `down` are the ports without a carrier. With `context`
    it speaks TLS.
    """

    def __init__(
        self,
        port: int,
        datapath_id: int,
        refuses: Sequence[int] = (),
        flows: Sequence[Sequence[tuple[int, int, int]]] | None = None,
        answers_echoes: bool = True,
        answers_barriers: bool = True,
        down: Sequence[int] = (),
        context: ssl.SSLContext | None = None,
    ) -> None:
        self.down = set(down)
        self.datapath_id = datapath_id
        self.received: queue.Queue[Type] = queue.Queue()
        self.packets: queue.Queue[tuple[int, bytes]] = queue.Queue()
        self.refuses = set(refuses)
        self.flows = flows
        self.answers_echoes = answers_echoes
        self.answers_barriers = answers_barriers
        self._flow_mods = 0
        self._cookies: list[int] = []
        self.connection = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S)
        if context is not None:
            self.connection = context.wrap_socket(self.connection)
        try:
            self.send(Type.HELLO, 1)
        except OSError:  # hung up on already
            self.connection.close()
            raise
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def __enter__(self) -> OpenFlowSwitch:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Hang up."""
        with suppress(OSError):  # the other side was first
            self.connection.shutdown(socket.SHUT_RDWR)
        self._thread.join(PATIENCE_S)
        self.connection.close()

    def send(self, kind: int, xid: int, body: bytes = b"") -> None:
        self.connection.sendall(HEADER.pack(VERSION, kind, HEADER.size + len(body), xid) + body)

    def _serve(self) -> None:
        data = bytearray()
        try:
            while received := self.connection.recv(1 << 16):
                data += received
                while len(data) >= HEADER.size:
                    _, kind, length, xid = HEADER.unpack_from(data)
                    if len(data) < length:
                        break
                    self._answer(kind, xid, bytes(data[HEADER.size : length]))
                    del data[:length]
        except OSError:
            return

    def _answer(self, kind: int, xid: int, body: bytes) -> None:
        if kind == Type.ECHO_REQUEST:
            if self.answers_echoes:
                self.send(Type.ECHO_REPLY, xid, body)
            return
        if kind in iter(Type):
            self.received.put(Type(kind))
        if kind == Type.FEATURES_REQUEST:
            self.send(Type.FEATURES_REPLY, xid, FEATURES.pack(self.datapath_id, 0, 254, 0, 0, 0))
        elif kind == Type.BARRIER_REQUEST:
            if self.answers_barriers:
                self.send(Type.BARRIER_REPLY, xid)
        elif kind == Type.PACKET_OUT:
            self.packets.put((OUTPUT.unpack_from(body, PACKET_OUT.size)[2], body[PACKET_OUT.size + OUTPUT.size :]))
        elif kind == Type.FLOW_MOD:
            if self._flow_mods in self.refuses:
                self.send(Type.ERROR, xid, ERROR.pack(5, 1) + body[:64])
            else:
                self._take(*FLOW_MOD.unpack_from(body))
            self._flow_mods += 1
        elif kind == Type.MULTIPART_REQUEST:
            self.tell(xid, MULTIPART.unpack_from(body)[0])

    def _take(self, cookie: int, mask: int, command: int) -> None:
        if command == ADD:
            self._cookies.append(cookie)
        else:
            self._cookies = [each for each in self._cookies if each & mask != cookie & mask]

    def tell(self, xid: int, what: int) -> None:
        """Answer a question, or one that nobody asked."""
        if what == PORT_DESC:
            ports = [_port(number, is_up=number not in self.down) for number in range(1, 20)]
            self._tell_part(xid, what, b"".join(ports))
        elif what == METER:
            body = METER_STATS.pack(1, METER_STATS.size + BAND_STATS.size, 1, 10, 600, 0, 0) + BAND_STATS.pack(7, 420)
            self._tell_part(xid, what, body)
        elif what == QUEUE:
            self._tell_part(xid, what, QUEUE_STATS.pack(1, 5, 300, 3, 0, 0, 0))
        elif what == FLOW:
            parts = self.flows if self.flows is not None else [[(cookie, 0, 0) for cookie in self._cookies]]
            for number, part in enumerate(parts, start=1):
                stats = b"".join(map(_flow_stats, part))
                self._tell_part(xid, what, stats, has_more=number < len(parts))

    def change_port(self, number: int, is_up: bool) -> None:
        """Tell that a port has come up or gone down."""
        self.send(Type.PORT_STATUS, 0, PORT_STATUS.pack(MODIFIED) + _port(number, is_up))

    def _tell_part(self, xid: int, what: int, body: bytes, has_more: bool = False) -> None:
        self.send(Type.MULTIPART_REPLY, xid, MULTIPART.pack(what, REPLY_MORE if has_more else 0) + body)


def _port(number: int, is_up: bool) -> bytes:
    return PORT.pack(number, bytes([2, 0, 0, 0, 0, number]), b"port", 0, 0 if is_up else LINK_DOWN)


def _flow_stats(count: tuple[int, int, int]) -> bytes:
    cookie, packets, size = count
    length = FLOW_STATS.size + len(EMPTY_MATCH)
    return FLOW_STATS.pack(length, 0, 1, 0, 10, 0, 0, 0, cookie, packets, size) + EMPTY_MATCH
