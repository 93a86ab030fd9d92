"""The verb `bench`: runs one experiment by name. Every figure of docs/results.md comes from here."""

from __future__ import annotations

import argparse
import importlib

from bench import report

EXPERIMENTS = {
    "adapt": "bench.adapt",
    "admission": "bench.admission",
    "admitted": "bench.admitted",
    "cycles": "bench.cycles",
    "experiment2": "bench.experiment2",
    "failover": "bench.failover",
    "guests": "bench.guests",
    "hitless": "bench.hitless",
    "hostile": "bench.hostile",
    "isolation": "bench.isolation",
    "misses": "bench.misses",
    "overload": "bench.overload",
    "scheduler": "bench.scheduler",
    "store": "bench.store",
}
"""Name and module. Each module has SUMMARY, `arguments(parser)` and `run(args) -> exit code`, and imports fast."""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = "Exit code: 0 if all verdicts of the experiment hold, 1 if one does not, 2 if it could not run."
    experiments = parser.add_subparsers(dest="experiment", metavar="NAME", required=True)
    for name, path in EXPERIMENTS.items():
        module = importlib.import_module(path)
        experiment = experiments.add_parser(name, help=module.SUMMARY.replace("%", "%%"), description=module.__doc__)
        report.arguments(experiment)
        module.arguments(experiment)
        experiment.set_defaults(run_experiment=module.run)


def run(args: argparse.Namespace) -> int:
    return int(args.run_experiment(args))
