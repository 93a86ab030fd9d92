"""`rtvnic tune`: settings of this machine that deadlines gain from. It says what it changes, and can undo it.

The former values are kept in the run directory, which like the settings themselves does not outlive a reboot.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from controller.errors import CannotRun
from controller.runtime import RUN_DIR
from rtvnic.table import aligned

FORMER = "tuned.json"
HEADERS = ("file", "was", "is", "why")


@dataclass(frozen=True)
class Setting:
    """A file of the kernel that is to contain `wanted`, and why."""

    path: Path
    wanted: str
    why: str

    @property
    def now(self) -> str:
        return self.path.read_text().strip()


def settings() -> Iterator[Setting]:
    """Those that this machine has."""
    runtime = Path("/proc/sys/kernel/sched_rt_runtime_us")
    if runtime.exists():
        yield Setting(runtime, "-1", "real-time threads are never stopped for the sake of others")
    for governor in sorted(Path("/sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq/scaling_governor")):
        yield Setting(governor, "performance", "a processor does not have to speed up first")


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = "Priorities, MTU and offloads need no tuning: `rtvnic up` sets them for as long as it runs."
    parser.add_argument("--undo", action="store_true", help="restore what was there before the first `tune`")
    parser.add_argument("--json", action="store_true", help="print the changes as JSON")


def run(args: argparse.Namespace) -> int:
    changes = _undo() if args.undo else _tune()
    if args.json:
        print(json.dumps([dict(zip(HEADERS, change, strict=True)) for change in changes], indent=2))
    elif changes:
        print(aligned(HEADERS, changes))
    else:
        print("nothing to undo" if args.undo else "all is as it should be")
    return 0


def _tune() -> list[tuple[str, str, str, str]]:
    due = [setting for setting in settings() if setting.now != setting.wanted]
    changes = [(str(setting.path), setting.now, setting.wanted, setting.why) for setting in due]
    if due:
        _remember({str(setting.path): setting.now for setting in due})
    for setting in due:
        _write(setting.path, setting.wanted)
    return changes


def _undo() -> list[tuple[str, str, str, str]]:
    changes = []
    for name, former in _remembered().items():
        changes.append((name, Path(name).read_text().strip(), former, "as it was"))
        _write(Path(name), former)
    (RUN_DIR / FORMER).unlink(missing_ok=True)
    return changes


def _remember(former: Mapping[str, str]) -> None:
    """Before anything is changed. What an earlier `tune` found counts more: that was there before both."""
    try:
        RUN_DIR.mkdir(mode=0o700, parents=True, exist_ok=True)
        (RUN_DIR / FORMER).write_text(json.dumps({**former, **_remembered()}))
    except OSError as error:
        raise CannotRun(f"cannot write {RUN_DIR / FORMER}: {error.strerror}", "run it as root") from None


def _remembered() -> dict[str, str]:
    try:
        former: dict[str, str] = json.loads((RUN_DIR / FORMER).read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise CannotRun(f"cannot read {RUN_DIR / FORMER}: {error}", "run it as root, or remove the file") from None
    return former


def _write(path: Path, value: str) -> None:
    try:
        path.write_text(value)
    except OSError as error:
        raise CannotRun(
            f"cannot set {path} to {value}: {error.strerror}", "run it as root, outside a container"
        ) from None
