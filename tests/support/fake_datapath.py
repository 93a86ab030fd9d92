"""A connected switch as os-ken shows it to its apps, without a connection. Import it before anything else of os-ken."""

from __future__ import annotations

import queue
from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

from controller.openflow import messages

# isort: split
from os_ken.ofproto import ofproto_parser
from os_ken.ofproto import ofproto_v1_3 as ofp
from os_ken.ofproto import ofproto_v1_3_parser as parser
from os_ken.ofproto.ofproto_protocol import ProtocolDesc

HARDWARE_ADDRESS = "aa:bb:cc:00:00:%02x"


class FakeDatapath(ProtocolDesc):  # type: ignore[misc]
    """Keeps what it is sent, in wire form and back again, in `messages`. It answers nothing by itself."""

    def __init__(self, datapath_id: int = 1, ports: Iterable[int] = range(1, 20)) -> None:
        super().__init__(messages.VERSION)
        self.id = datapath_id
        self.ports = {number: SimpleNamespace(hw_addr=HARDWARE_ADDRESS % number, state=0, config=0) for number in ports}
        self.messages: queue.Queue[Any] = queue.Queue()
        self.is_closed = False
        self._xid = 1000

    def set_xid(self, message: Any) -> int:
        self._xid += 1
        message.set_xid(self._xid)
        return self._xid

    def send_msg(self, message: Any) -> bool:
        if message.xid is None:
            self.set_xid(message)
        message.serialize()
        self.messages.put(message)
        return True

    def hang_up(self) -> None:
        self.is_closed = True

    def next(self) -> Any:
        """The next message, as soon as it is sent. Raises queue.Empty after a while."""
        return self.messages.get(timeout=10)

    def until_barrier(self) -> list[Any]:
        """All messages up to the next barrier, which is the last of them."""
        found = [self.next()]
        while not isinstance(found[-1], parser.OFPBarrierRequest):
            found.append(self.next())
        return found


def on_the_wire(message: Any) -> bytes:
    """`message` in the bytes that the switch would get."""
    if message.xid is None:
        message.set_xid(0)
    message.serialize()
    return bytes(message.buf)


def parsed(datapath: Any, data: bytes) -> Any:
    """The message in `data`, as os-ken understands it."""
    version, msg_type, msg_len, xid = ofproto_parser.header(data)
    assert (version, msg_len) == (messages.VERSION, len(data))
    return ofproto_parser.msg(datapath, version, msg_type, msg_len, xid, data)


def flow_stats(*counts: tuple[int, int, int]) -> list[Any]:
    """A body of a flow statistics answer: cookie, packets, bytes."""
    return [
        parser.OFPFlowStats(cookie=cookie, packet_count=packets, byte_count=size) for cookie, packets, size in counts
    ]


def multipart(body: list[Any], has_more: bool = False) -> Any:
    """One part of an answer."""
    return SimpleNamespace(body=body, flags=ofp.OFPMPF_REPLY_MORE if has_more else 0)
