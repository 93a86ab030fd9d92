"""The datagrams between guest and controller: what one side says is what the other hears, and nothing else gets in."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guest import messages
from guest.messages import (
    CHANNELS_MAX,
    DATAGRAM_MAX,
    REASON_MAX,
    Answer,
    BadMessage,
    Change,
    Close,
    Kind,
    List,
    Listed,
    ListedChannel,
    Message,
    Missed,
    Open,
    Renew,
    Subscribe,
    decoded_reply,
    decoded_request,
    encoded,
)

U8, U16, U32, U64 = (st.integers(0, 2**bits - 1) for bits in (8, 16, 32, 64))
ADDRESSES = st.ip_addresses(v=4) | st.ip_addresses(v=6).filter(lambda address: address.ipv4_mapped is None)
LISTED_CHANNELS = st.builds(
    ListedChannel, U32, U32, U8, ADDRESSES, ADDRESSES, U16, U16, U8, U64, U64, U32
)  # fmt: skip
REQUESTS = (
    st.builds(Open, ADDRESSES, ADDRESSES, U16, U16, U8, U32, U32, U64, U64, U32)
    | st.builds(Renew, U32, U32)
    | st.builds(Change, U32, U32, U32, U64, U64)
    | st.builds(Close, U32)
    | st.builds(List, U32)
    | st.builds(Subscribe, U32, U32)
)
REPLIES = (
    st.builds(Answer, U16, U8, U32, U32, U64, U64, U64, st.text(max_size=REASON_MAX // 4))
    | st.builds(Listed, st.lists(LISTED_CHANNELS, max_size=CHANNELS_MAX).map(tuple))
    | st.builds(Missed, U32, U32, U64, U64, U64, U64, U64, U64)
)
OPEN = Open(IPv4Address("10.0.0.2"), IPv4Address("10.0.0.1"), 0, 5000, 17, 0, 0, 5_000_000, 2_000_000, 30)


@given(REQUESTS, U64)
def test_a_request_is_heard_as_it_was_said(request: Message, nonce: int) -> None:
    datagram = encoded(request, nonce)
    assert len(datagram) <= DATAGRAM_MAX
    assert decoded_request(datagram) == (request, nonce)


@given(REPLIES, U64)
def test_a_reply_is_heard_as_it_was_said(reply: Message, nonce: int) -> None:
    datagram = encoded(reply, nonce)
    assert len(datagram) <= DATAGRAM_MAX
    assert decoded_reply(datagram) == (reply, nonce)


@given(REQUESTS, REPLIES, U64)
def test_no_side_takes_what_it_says_itself(request: Message, reply: Message, nonce: int) -> None:
    for decode, message in ((decoded_request, reply), (decoded_reply, request)):
        with pytest.raises(BadMessage, match="is none of"):
            decode(encoded(message, nonce))


@given(st.binary(max_size=DATAGRAM_MAX + 10))
def test_random_bytes_are_no_message(datagram: bytes) -> None:
    for decode in (decoded_request, decoded_reply):
        with pytest.raises(BadMessage):
            decode(datagram)


@given(REQUESTS | REPLIES, st.data())
def test_a_mutated_message_is_another_one_or_none(message: Message, data: st.DataObject) -> None:
    datagram = bytearray(encoded(message, 1))
    for index, value in data.draw(st.dictionaries(st.integers(0, len(datagram) - 1), U8, max_size=4)).items():
        datagram[index] = value
    mutated = bytes(datagram[: data.draw(st.integers(0, len(datagram)))])
    for decode in (decoded_request, decoded_reply):
        try:
            found, nonce = decode(mutated)
        except BadMessage:
            continue
        decode(encoded(found, nonce))


@pytest.mark.parametrize(
    ("datagram", "message"),
    [
        (b"", "it has 0 bytes; allowed are 16 to 1232"),
        (bytes(16), "it begins with 00000000, not with 52545647"),
        (b"RTVG\x02" + bytes(11), "it has version 2; this is version 1"),
        (b"RTVG\x01\x63" + bytes(10), "kind 99 is none of 1, 2, 3, 4, 5, 6"),
        (b"RTVG\x01\x04" + bytes(11), "a Close has 4 bytes after its header, not 1"),
    ],
)
def test_says_what_is_wrong(datagram: bytes, message: str) -> None:
    with pytest.raises(BadMessage) as bad:
        decoded_request(datagram)
    assert str(bad.value) == message


def test_a_message_is_what_the_tables_say() -> None:
    """docs/guests.md, byte for byte."""
    assert encoded(OPEN, 0x0102030405060708).hex() == (
        "52545647" "01" "01" "0000" "0102030405060708"
        "00000000000000000000ffff0a000002" "00000000000000000000ffff0a000001" "0000" "1388" "11" "000000"
        "00000000" "00000000" "00000000004c4b40" "00000000001e8480" "0000001e"
    )  # fmt: skip


def test_a_reason_is_cut_at_a_character() -> None:
    answer = Answer(2, 0, 0, 0, 0, 0, 0, "é" * REASON_MAX)
    heard, _ = decoded_reply(encoded(answer, 1))
    assert isinstance(heard, Answer)
    assert heard.reason == "é" * (REASON_MAX // 2)


def test_every_kind_is_a_message() -> None:
    assert {*messages._REQUESTS, *messages._REPLIES} == set(Kind)


def test_no_router_forwards_the_service_addresses() -> None:
    assert messages.SERVICE_IPV4.is_link_local
    assert messages.SERVICE_IPV6.is_link_local
    assert IPv6Address("fe80::5256") == messages.SERVICE_IPV6
