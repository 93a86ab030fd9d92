"""What the overload experiment asks for and concludes."""

from __future__ import annotations

import pytest
from made import packets, stream

from bench.overload import RATE_BPS, Outcome, report, text
from bench.streams import Exchange, network_of
from controller.admission.guarantee import Guarantees
from controller.model import Late

SENT = 1000


def outcome(late: Late, in_time: int, too_late: int = 0) -> Outcome:
    """Of the packets of each channel so many arrive in time and too late; the others are lost."""
    with network_of(text(late), is_admission_asked=False) as network:
        streams = [
            stream(channel, [*packets(in_time), *packets(too_late, delay_ms=50)], sent=SENT)
            for channel in network.channels.values()
        ]
    return Outcome(late, Exchange(streams, stalls=()))


@pytest.mark.parametrize("late", [Late.DEMOTE, Late.KEEP])
def test_a_fifth_more_is_asked_for_than_the_link_carries(late: Late) -> None:
    with network_of(text(late), is_admission_asked=False) as network:
        asked_bps = sum(channel.wire_rate_bps for channel in network.channels.values())
        assert asked_bps == pytest.approx(1.2 * RATE_BPS, rel=1e-4)
        assert {channel.late for channel in network.channels.values()} == {late}
        assert len(network.channels) == 10
        assert Guarantees(network).refusals


@pytest.mark.parametrize(
    ("demoted", "kept", "holds"),
    [(800, 399, [True, True]), (799, 0, [False, True]), (820, 410, [True, False]), (0, 0, [False, False])],
)
def test_verdicts(demoted: int, kept: int, holds: list[bool]) -> None:
    result = report(outcome(Late.DEMOTE, demoted), outcome(Late.KEEP, kept, too_late=SENT - kept))
    assert [verdict.holds for verdict in result.verdicts] == holds


def test_a_packet_that_comes_too_late_or_not_at_all_is_not_in_time() -> None:
    assert outcome(Late.DEMOTE, in_time=700, too_late=200).share == 0.7


def test_both_are_side_by_side() -> None:
    from matplotlib.figure import Figure

    result = report(outcome(Late.DEMOTE, 820), outcome(Late.KEEP, 10))
    assert result.rows[0] == ("within5", "5ms", SENT, 820, "82.0%", SENT, 10, "1.0%")
    assert result.rows[-1] == ("all", "", 10 * SENT, 8200, "82.0%", 10 * SENT, 100, "1.0%")
    result.draw(Figure())
    assert '"share": 0.82' in result.as_json()
