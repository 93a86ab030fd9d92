"""`rtvnic doctor --calibrate`: measures what this machine itself takes of a deadline, for the topology file."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from controller.units import DURATION, NS_PER_S, ms
from rtvnic.progress import Progress
from rtvnic.table import aligned

if TYPE_CHECKING:
    from bench.calibration import Calibration, Times


def calibrate(duration_ns: int, as_json: bool) -> int:
    """Each of the three measurements takes `duration_ns`. Raises CannotRun, also if a run is up."""
    from topologies.interruption import interruptible

    with interruptible():
        found = _measured(duration_ns)
    print(json.dumps(found.as_json(), indent=2) if as_json else text(found))
    return 0


def text(found: Calibration) -> str:
    rows = [_row(f"wake-up on processor {cpu}", times) for cpu, times in found.noise.items()]
    rows.append(_row("a packet's way through Open vSwitch", found.bridge))
    rows.append(_row("a packet's way through a shim", found.path))
    table = aligned(("what", "samples", "p50", "p99", "p99.99", "max ms"), rows)
    advice = "In the topology file, under each hypervisor that is this machine:"
    return f"{table}\n\n{advice}\n    allowance: {DURATION.format(found.allowance_ns)}"


def _measured(duration_ns: int) -> Calibration:
    from bench.calibration import Calibration, measure_bridge, measure_noise, measure_path

    progress = Progress(3)

    def note(over_s: int) -> None:
        progress.note(f"{over_s} of {duration_ns / NS_PER_S:g} s")

    progress.step("packets through Open vSwitch")  # first, for it alone is refused while a run is up
    bridge = measure_bridge(duration_ns, note)
    progress.step("scheduling noise")
    noise = measure_noise(duration_ns, note)
    progress.step("packets through a shim")
    path = measure_path(duration_ns, note)
    progress.end()
    return Calibration(noise, bridge, path)


def _row(what: str, times: Times) -> tuple[str, ...]:
    return (what, str(times.count), *map(ms, (times.p50, times.p99, times.p9999, times.max)))
