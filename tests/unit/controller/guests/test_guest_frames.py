"""Frames of guests: scapy makes the questions and reads the answers, Hypothesis sends what nobody would."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.inet6 import ICMPv6ND_NA, ICMPv6NDOptDstLLAddr, IPv6
from scapy.layers.l2 import ARP, Dot1Q, Ether
from support.guest_frames import IPV4, IPV6, MAC, PORT, arp_request, asked_in, solicitation

from controller.guests.entries import FRAME_MAX
from controller.guests.frames import AddressAsked, BadFrame, Datagram, Sender, datagram, here_it_is, read
from controller.model import IpAddress
from guest.messages import DATAGRAM_MAX, SERVICE_IPV4, SERVICE_IPV6, SERVICE_PORT

SERVICE_MAC = "52:54:56:4e:49:43"
BOTH = pytest.mark.parametrize("source", [IPV4, IPV6])


def sender(address: IpAddress) -> Sender:
    return Sender(bytes.fromhex(MAC.replace(":", "")), address)


@BOTH
def test_a_datagram_is_read_with_who_has_sent_it(source: IpAddress) -> None:
    assert read(asked_in(b"payload", source=source)) == Datagram(sender(source), PORT, b"payload")


@BOTH
def test_what_fills_a_short_frame_up_is_no_payload(source: IpAddress) -> None:
    assert read(asked_in(b"ab", source=source) + bytes(40)) == Datagram(sender(source), PORT, b"ab")


@BOTH
def test_the_longest_datagram_fits_into_what_is_handed_up(source: IpAddress) -> None:
    frame = asked_in(bytes(DATAGRAM_MAX), source=source)
    assert len(frame) <= FRAME_MAX
    assert read(frame) == Datagram(sender(source), PORT, bytes(DATAGRAM_MAX))


def test_who_asks_for_the_address_of_the_service() -> None:
    assert read(arp_request()) == AddressAsked(sender(IPV4))
    assert read(solicitation()) == AddressAsked(sender(IPV6))


ETHER = Ether(src=MAC, dst=SERVICE_MAC)
TO_SERVICE = IP(src=str(IPV4), dst=str(SERVICE_IPV4))
QUESTION = UDP(sport=PORT, dport=SERVICE_PORT)
REFUSED = {
    "nothing": b"",
    "another protocol": ETHER / TO_SERVICE / ICMP(),
    "another port": ETHER / TO_SERVICE / UDP(sport=PORT, dport=1022),
    "no port": ETHER / TO_SERVICE / UDP(sport=0, dport=SERVICE_PORT),
    "another destination": ETHER / IP(src=str(IPV4), dst="10.0.0.2") / QUESTION,
    "the first fragment": ETHER / IP(src=str(IPV4), dst=str(SERVICE_IPV4), flags="MF") / QUESTION,
    "a later fragment": ETHER / IP(src=str(IPV4), dst=str(SERVICE_IPV4), frag=1) / QUESTION,
    "a tag": ETHER / Dot1Q(vlan=1) / TO_SERVICE / QUESTION,
    "a header beyond the packet": ETHER / IP(src=str(IPV4), dst=str(SERVICE_IPV4), ihl=15, len=28) / QUESTION,
    "more than there is": ETHER / IP(src=str(IPV4), dst=str(SERVICE_IPV4), len=100) / QUESTION,
    "a datagram longer than its packet": ETHER / TO_SERVICE / UDP(sport=PORT, dport=SERVICE_PORT, len=9),
    "a datagram shorter than its header": ETHER / TO_SERVICE / UDP(sport=PORT, dport=SERVICE_PORT, len=7) / b"12",
    "too long a datagram": ETHER / TO_SERVICE / QUESTION / bytes(DATAGRAM_MAX + 1),
    "an ARP reply": ETHER / ARP(op=2, psrc=str(IPV4), pdst=str(SERVICE_IPV4)),
    "ARP for another": arp_request(target=IPv4Address("10.0.0.2")),
    "a solicitation for another": solicitation(target=IPv6Address("fd00::2")),
    "more of IPv6 than there is": ETHER / IPv6(src=str(IPV6), dst=str(SERVICE_IPV6), plen=9) / QUESTION,
}


@pytest.mark.parametrize("frame", [bytes(each) for each in REFUSED.values()], ids=list(REFUSED))
def test_what_is_no_question_is_refused(frame: bytes) -> None:
    with pytest.raises(BadFrame):
        read(frame)


@given(st.binary(max_size=100))
def test_any_bytes_are_a_question_or_refused(frame: bytes) -> None:
    verdict(frame)


@given(
    st.sampled_from([asked_in(b"payload"), asked_in(b"payload", source=IPV6), arp_request(), solicitation()]),
    st.lists(st.tuples(st.integers(0, 200), st.integers(0, 255)), max_size=6),
    st.integers(0, 120),
)
def test_a_question_with_bytes_changed_and_cut_off_is_one_or_is_refused(
    frame: bytes, changes: list[tuple[int, int]], length: int
) -> None:
    changed = bytearray(frame)
    for at, value in changes:
        changed[at % len(changed)] = value
    found = verdict(bytes(changed[:length]))
    if isinstance(found, Datagram):
        assert len(found.payload) <= length


def verdict(frame: bytes) -> object:
    try:
        return read(frame)
    except BadFrame as error:
        return str(error)


@BOTH
@pytest.mark.parametrize("payload", [b"", b"odd", b"even", bytes(DATAGRAM_MAX)])
def test_an_answer_is_what_a_kernel_takes(source: IpAddress, payload: bytes) -> None:
    found = Ether(datagram(sender(source), PORT, payload))
    assert (found.src, found.dst) == (SERVICE_MAC, MAC)
    network = found[IP] if source.version == 4 else found[IPv6]
    assert (network.src, network.dst) == (str(SERVICE_IPV4 if source.version == 4 else SERVICE_IPV6), str(source))
    assert (found[UDP].sport, found[UDP].dport, bytes(found[UDP].payload)) == (SERVICE_PORT, PORT, payload)
    assert_checksums(found)


def assert_checksums(found: Ether) -> None:
    """scapy works them out anew where they are left away."""
    again = Ether(bytes(found))
    for layer in (IP, UDP, ICMPv6ND_NA):
        if layer in again:
            field = "cksum" if layer is ICMPv6ND_NA else "chksum"
            delattr(again[layer], field)
    assert bytes(again) == bytes(found)


def test_the_address_of_the_service_over_arp() -> None:
    found = Ether(here_it_is(sender(IPV4)))[ARP]
    assert (found.op, found.hwsrc, found.psrc) == (2, SERVICE_MAC, str(SERVICE_IPV4))
    assert (found.hwdst, found.pdst) == (MAC, str(IPV4))


def test_the_address_of_the_service_over_neighbour_discovery() -> None:
    found = Ether(here_it_is(sender(IPV6)))
    advertisement = found[ICMPv6ND_NA]
    assert (advertisement.tgt, advertisement.S, advertisement.R) == (str(SERVICE_IPV6), 1, 0)
    assert (advertisement[ICMPv6NDOptDstLLAddr].lladdr, found[IPv6].hlim) == (SERVICE_MAC, 255)
    assert_checksums(found)
