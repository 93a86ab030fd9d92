"""What all experiments share: one form of result that becomes a table, JSON, a plot and an exit code;
and one row for how long something took."""

from __future__ import annotations

import argparse
import json
import os
import platform
import shlex
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from controller.errors import CannotRun
from controller.units import NS_PER_MS
from ovs_config import openvswitch
from rtvnic.drawing import save_plot
from rtvnic.table import aligned

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Verdict:
    """One thing that the experiment had to show, in words with the figure found, and whether it did."""

    text: str
    holds: bool


@dataclass(frozen=True)
class Report:
    """The result of one experiment. `figures` is all that was measured, as JSON values; `draw` fills an empty plot."""

    experiment: str
    headers: Sequence[str]
    rows: Sequence[Sequence[object]]
    figures: Mapping[str, Any]
    verdicts: Sequence[Verdict]
    draw: Callable[[Figure], None]

    @property
    def holds(self) -> bool:
        return all(verdict.holds for verdict in self.verdicts)

    def text(self) -> str:
        verdicts = [f"{'yes' if verdict.holds else 'NO '}  {verdict.text}" for verdict in self.verdicts]
        return "\n".join([aligned(self.headers, self.rows), "", *verdicts])

    def as_json(self, seed: int | None = None) -> str:
        """All figures, and what a reader needs to find them again. `seed`: what was chosen by, if it could be."""
        content = {
            "experiment": self.experiment,
            "run": _run(seed),
            "machine": _machine(),
            "figures": self.figures,
            "verdicts": [{"text": verdict.text, "holds": verdict.holds} for verdict in self.verdicts],
        }
        return json.dumps(content, indent=2) + "\n"


def arguments(parser: argparse.ArgumentParser) -> None:
    """The options that every experiment has."""
    parser.add_argument("--json", metavar="OUT", help="write all figures to this file; '-' is standard output")
    parser.add_argument("--plot", metavar="OUT.png", type=Path, help="draw the result into this file")


def publish(report: Report, args: argparse.Namespace) -> int:
    """Prints the table and writes what `args` asks for. Returns the exit code: 0 if all verdicts hold, else 1."""
    content = report.as_json(getattr(args, "seed", None))
    print(report.text(), file=sys.stderr if args.json == "-" else sys.stdout)
    try:
        if args.json == "-":
            sys.stdout.write(content)
        elif args.json:
            Path(args.json).write_text(content)
    except OSError as error:
        raise CannotRun(f"cannot write {error.filename}: {error.strerror}", "choose another file") from error
    if args.plot:
        save_plot(args.plot, report.draw)
    return 0 if report.holds else 1


def percentile_ms(times_ns: Sequence[int], percent: int) -> float:
    """Of at least two; infinite without any, for then nothing was answered."""
    if len(times_ns) < 2:
        return float("inf")
    return statistics.quantiles(times_ns, n=100, method="inclusive")[percent - 1] / NS_PER_MS


def times_row(name: str, times_ns: Sequence[int]) -> tuple[object, ...]:
    """For the columns count, p50 ms, p99 ms, max ms."""
    longest_ms = max(times_ns, default=0) / NS_PER_MS
    return (name, f"{len(times_ns):,}", *(f"{percentile_ms(times_ns, each):.2f}" for each in (50, 99)),
            f"{longest_ms:.2f}")  # fmt: skip


def _run(seed: int | None) -> dict[str, object]:
    """What was run, and when it ended, in UTC."""
    return {
        "rtvnic": version("rtvnic"),
        "command": shlex.join(["rtvnic", *sys.argv[1:]]),
        "seed": seed,
        "ended": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _machine() -> dict[str, object]:
    """What a reader must know of the machine to judge the figures. `load` is the mean of the last minute."""
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "kernel": platform.release(),
        "openvswitch": openvswitch.installed(),
    }


def _cpu_model() -> str:
    """The kernel's name for it; the architecture where it has none."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(models, platform.machine())
