"""From measured times to the allowance of a topology file."""

from __future__ import annotations

import pytest

from bench.calibration import Calibration, Times, rounded_up, times_of
from controller.errors import CannotRun
from controller.units import DURATION
from rtvnic import calibrate


def upto(p9999: int) -> Times:
    return Times(count=20_000, p50=1, p99=2, p9999=p9999, max=9_000_000)


@pytest.mark.parametrize(
    ("number", "wanted"), [(7, 7), (740, 740), (999, 999), (1230, 1230), (1231, 1240), (9999, 10_000), (12_345, 12_400)]
)
def test_three_digits(number: int, wanted: int) -> None:
    assert rounded_up(number) == wanted


@pytest.mark.parametrize(
    ("noise_ns", "bridge_ns", "path_ns", "wanted"),
    [
        (500_000, 0, 739_100, "840us"),
        (500_000, 160_000, 739_100, "1ms"),
        (1_231_000, 500_000, 739_000, "1.84ms"),
        (0, 200_000, 200_000, "500us"),
    ],
)
def test_the_allowance_is_open_vswitch_then_the_worse_of_shim_and_noise_and_what_may_have_been_handed_over(
    noise_ns: int, bridge_ns: int, path_ns: int, wanted: str
) -> None:
    found = Calibration({0: upto(noise_ns), 1: upto(noise_ns // 2)}, upto(bridge_ns), upto(path_ns))
    assert DURATION.format(found.allowance_ns) == wanted
    assert DURATION.parse(wanted) == found.allowance_ns, "a topology file reads it back"
    assert calibrate.text(found).endswith(f"    allowance: {wanted}")


def test_percentiles_are_by_nearest_rank() -> None:
    found = times_of(range(10_000, 0, -1), "x")
    assert found == Times(count=10_000, p50=5000, p99=9900, p9999=9999, max=10_000)


def test_nothing_measured_is_said() -> None:
    with pytest.raises(CannotRun, match="nothing was measured of the shim"):
        times_of([], "the shim")
