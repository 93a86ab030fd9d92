"""What switches say in OpenFlow 1.3, as bytes: genuine messages of every kind that is read, and known bad ones."""

from __future__ import annotations

import struct

HEADER = struct.Struct("!BBHI")
HELLO, ERROR, ECHO_REQUEST, ECHO_REPLY, EXPERIMENTER, FEATURES_REPLY = 0, 1, 2, 3, 4, 6
PACKET_IN, PORT_STATUS, MULTIPART_REPLY, BARRIER_REPLY = 10, 12, 19, 21


def message(kind: int, body: bytes = b"", version: int = 4) -> bytes:
    return HEADER.pack(version, kind, HEADER.size + len(body), 7) + body


def multipart(what: int, body: bytes = b"") -> bytes:
    return message(MULTIPART_REPLY, struct.pack("!HH4x", what, 0) + body)


def oxm(field: int, value: bytes, mask: bytes = b"") -> bytes:
    return struct.pack("!HBB", 0x8000, field << 1 | bool(mask), len(value + mask)) + value + mask


def match(*fields: bytes) -> bytes:
    content = b"".join(fields)
    return struct.pack("!HH", 1, 4 + len(content)) + content + bytes(-(4 + len(content)) % 8)


EMPTY_MATCH = match()


def apply(*actions: bytes) -> bytes:
    content = b"".join(actions)
    return struct.pack("!HH4x", 4, 8 + len(content)) + content


def flow(matched: bytes = EMPTY_MATCH, *instructions: bytes) -> bytes:
    rest = matched + b"".join(instructions)
    return struct.pack("!HBxIIHHHH4xQQQ", 48 + len(rest), 0, 1, 0, 10, 0, 0, 0, 1, 2, 3) + rest


def bucket(*actions: bytes) -> bytes:
    content = b"".join(actions)
    return struct.pack("!HHII4x", 16 + len(content), 1, 2, 3) + content


def group_desc(*buckets: bytes) -> bytes:
    content = b"".join(buckets)
    return struct.pack("!HBxI", 8 + len(content), 3, 1) + content


def packet_in(cookie: int, frame: bytes, port: int = 10) -> bytes:
    """A whole packet that a flow with `cookie` hands up."""
    about = struct.pack("!IHBBQ", 0xFFFFFFFF, len(frame), 1, 0, cookie)
    return message(PACKET_IN, about + match(oxm(0, struct.pack("!I", port))) + bytes(2) + frame)


OUTPUT = struct.pack("!HHIH6x", 0, 16, 1, 0)
SET_QUEUE = struct.pack("!HHI", 21, 8, 5)
PUSH_MPLS = struct.pack("!HHH2x", 19, 8, 0x8847)
SET_LABEL = struct.pack("!HH", 25, 16) + oxm(34, bytes(4)) + bytes(4)
RESUBMIT = struct.pack("!HHIHHB3x", 0xFFFF, 16, 0x2320, 14, 0xFFF8, 1)
GOTO = struct.pack("!HHB3x", 1, 8, 2)
METER = struct.pack("!HHI", 6, 8, 3)
DROP_BAND = struct.pack("!HHII4x", 1, 16, 2000, 100)


def port(number: int) -> bytes:
    return struct.pack("!I4x6s2x16sII24x", number, bytes(6), b"port", 0, 0)


GENUINE = {
    "hello": message(HELLO, bytes.fromhex("0001000800000010")),
    "hello without elements": message(HELLO),
    "hello of a later version": message(HELLO, bytes.fromhex("0001000800000070"), version=6),
    "error": message(ERROR, struct.pack("!HH", 5, 1) + bytes(64)),
    "vendor's error": message(ERROR, struct.pack("!HHI", 0xFFFF, 2, 3)),
    "echo request": message(ECHO_REQUEST, b"data"),
    "echo reply": message(ECHO_REPLY),
    "features": message(FEATURES_REPLY, struct.pack("!QIBB2xII", 1, 0, 254, 0, 0, 0)),
    "packet": packet_in(0x5254040000A00000, b"a frame"),
    "port status": message(PORT_STATUS, struct.pack("!B7x", 2) + port(1)),
    "barrier": message(BARRIER_REPLY),
    "bundle": message(EXPERIMENTER, bytes.fromhex("4f4e4600000008fc0000000100010000")),
    "desc": multipart(0, bytes(1056)),
    "no flows": multipart(1),
    "flows": multipart(
        1,
        flow()
        + flow(match(oxm(0, bytes(4)), oxm(5, b"\x88\x47"), oxm(34, bytes(4))), METER, GOTO)
        + flow(match(oxm(3, bytes(6), bytes(6))), apply(PUSH_MPLS, SET_LABEL, SET_QUEUE, OUTPUT, RESUBMIT), GOTO),
    ),
    "aggregate": multipart(2, bytes(24)),
    "tables": multipart(3, bytes(2 * 24)),
    "ports": multipart(4, bytes(2 * 112)),
    "queues": multipart(5, bytes(2 * 40)),
    "groups": multipart(6, struct.pack("!H", 40) + bytes(38) + struct.pack("!H", 72) + bytes(70)),
    "group desc": multipart(7, group_desc() + group_desc(bucket(OUTPUT), bucket(SET_QUEUE, OUTPUT), bucket(RESUBMIT))),
    "group features": multipart(8, bytes(40)),
    "meters": multipart(9, struct.pack("!IH", 1, 40) + bytes(34) + struct.pack("!IH", 2, 56) + bytes(50)),
    "meter config": multipart(10, struct.pack("!HHI", 8, 0, 1) + struct.pack("!HHI", 24, 0, 1) + DROP_BAND),
    "meter features": multipart(11, bytes(16)),
    "port desc": multipart(13, port(1) + port(2)),
}
"""Everything that is read, by what it is."""

HANGING = {
    "hello": bytes.fromhex("04000010000000130001000000000010"),
    "flow": multipart(1, bytes(56)),
    "instruction": multipart(1, flow(match(), struct.pack("!HH4x", 4, 0))),
    "action": multipart(1, flow(match(), apply(struct.pack("!HHI", 25, 0, 0x80000004) + bytes(8)))),
    "group": multipart(6, bytes(40)),
    "group desc": multipart(7, bytes(8)),
    "bucket": multipart(7, struct.pack("!HBxI", 24, 0, 1) + bytes(16)),
    "meter": multipart(9, bytes(40)),
    "meter config": multipart(10, bytes(8)),
    "table features": multipart(12, bytes(64)),
    "queue config": message(23, bytes(8) + bytes(16)),
}
"""What keeps os-ken's parser for ever, by the structure whose length is 0."""

MESSAGE_BYTES_MAX = (1 << 16) - 1
_SLOW_FIELDS = match(*(oxm(field, bytes(6), bytes(6)) for field in (3, 4)), oxm(26, bytes(16), bytes(16)))
_SET_IPV6 = struct.pack("!HH", 25, 24) + oxm(26, bytes(16))


def _full(what: int, structure: bytes) -> bytes:
    """As many of `structure` as one message holds."""
    return multipart(what, structure * ((MESSAGE_BYTES_MAX - 16) // len(structure)))


LARGE = {
    "slow matches": _full(1, flow(_SLOW_FIELDS)),
    "slow actions": _full(1, flow(EMPTY_MATCH, apply(*2000 * [_SET_IPV6]))),
    "flows": _full(
        1, flow(match(oxm(0, bytes(4)), oxm(34, bytes(4))), METER, apply(PUSH_MPLS, SET_LABEL, OUTPUT), GOTO)
    ),
    "short actions": _full(1, flow(EMPTY_MATCH, apply(*8000 * [SET_QUEUE]))),
    "groups": _full(7, group_desc()),
    "ports": _full(13, port(1)),
}
"""The largest messages, of what is the slowest to parse."""
