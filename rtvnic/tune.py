"""`rtvnic tune`: settings of this machine that deadlines gain from. It says what it changes, and can undo it.

The former values are kept in the run directory, which like the settings themselves does not outlive a reboot.
"""

from __future__ import annotations

import argparse
import errno
import json
import os
import re
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import astuple, dataclass
from itertools import chain, groupby, pairwise
from pathlib import Path
from textwrap import shorten
from typing import NoReturn

from pyroute2.ethtool.ioctl import EthtoolError, IoctlEthtool

from controller.errors import CannotRun
from controller.runtime import RUN_DIR
from ovs_config.openvswitch import of_system
from ovs_config.plan import LABELLED_MTU
from ovs_config.realtime import VSWITCHD_PRIORITY, data_plane_cpus, usable_cpus
from rtvnic.arguments import processors
from rtvnic.shim import PRIORITY
from rtvnic.table import aligned

FORMER = "tuned.json"
HEADERS = ("setting", "was", "is", "why")
WIDEST = 80
"""Characters of a value in a table; JSON has it whole."""
HIGHEST_PRIORITY = 99
PROC = Path("/proc")
SYS = Path("/sys")
RECEIVE_BUFFER_BYTES = 4 * 2**20

SHIM_THREADS = {"edf-egress": 0, "edf-check": -1, "edf-guard": 1}
"""The names of a shim's own threads, with what each has beyond the shim's priority. Its guard is a process."""

_GONE = {errno.ENOENT, errno.ESRCH, errno.ENODEV}
_SEGMENTS = re.compile(r"rx-(.*-)?(gro|lro)(-.*)?|tx-.*segmentation|tx-gso-.*")
"""The kernel's names of the offloads that make one frame of several, or several of one."""

_POLICIES = {
    os.SCHED_OTHER: "other",
    os.SCHED_FIFO: "fifo",
    os.SCHED_RR: "rr",
    os.SCHED_BATCH: "batch",
    os.SCHED_IDLE: "idle",
}


@dataclass(frozen=True)
class Setting(ABC):
    """Something of this machine that is read and written as text. Both raise OSError, also when it is gone."""

    @abstractmethod
    def read(self) -> str: ...

    @abstractmethod
    def write(self, value: str) -> None: ...


@dataclass(frozen=True)
class File(Setting):
    """A file of the kernel. One that lists all choices, `always [never]`, reads as the one in brackets."""

    path: str

    def __str__(self) -> str:
        return self.path

    def read(self) -> str:
        text = Path(self.path).read_text().strip()
        chosen = re.search(r"\[(.+)\]", text)
        return chosen[1] if chosen else text

    def write(self, value: str) -> None:
        Path(self.path).write_text(value)


@dataclass(frozen=True)
class Offloads(Setting):
    """Which offloads of an interface that make frames of frames are on, of those that can be changed."""

    interface: str

    def __str__(self) -> str:
        return f"offloads of {self.interface}"

    def read(self) -> str:
        with closing(IoctlEthtool(self.interface)) as ethtool:
            active = [name for name, on, changeable, *_ in ethtool.get_features() if on and changeable]
        return " ".join(filter(_SEGMENTS.fullmatch, active)) or "none"

    def write(self, value: str) -> None:
        wanted = value.split()
        with closing(IoctlEthtool(self.interface)) as ethtool:
            features = ethtool.get_features()
            for name, on, changeable, *_ in list(features):
                if changeable and _SEGMENTS.fullmatch(name) and on != (name in wanted):
                    features[name] = not on
            try:
                ethtool.set_features(features)
            except EthtoolError:
                raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP)) from None


@dataclass(frozen=True)
class OfThreads(Setting):
    """A setting of a process: of its main thread, and of all others that have the same.

    A thread that differs was set apart on purpose, by Open vSwitch's own `pmd-cpu-mask` for instance.
    """

    pid: int
    started: int
    """In clock ticks since boot: a later process with the same pid is another."""

    @abstractmethod
    def of(self, thread: int) -> str: ...

    @abstractmethod
    def give(self, thread: int, value: str) -> None: ...

    def read(self) -> str:
        if started(self.pid) != self.started:
            raise ProcessLookupError(errno.ESRCH, os.strerror(errno.ESRCH))
        return self.of(self.pid)

    def write(self, value: str) -> None:
        former = self.read()
        threads = [int(entry.name) for entry in (PROC / str(self.pid) / "task").iterdir()]
        for thread in sorted(threads, key=lambda thread: thread == self.pid):
            with suppress(ProcessLookupError):
                if self.of(thread) == former:
                    self.give(thread, value)


class Processors(OfThreads):
    """Those that a process may run on, as a mask in hexadecimal digits."""

    def __str__(self) -> str:
        return f"processors of process {self.pid}"

    def of(self, thread: int) -> str:
        return f"{_mask(os.sched_getaffinity(thread)):x}"

    def give(self, thread: int, value: str) -> None:
        mask = int(value, 16)
        os.sched_setaffinity(thread, [cpu for cpu in range(mask.bit_length()) if mask >> cpu & 1])


class Scheduling(OfThreads):
    """Policy and priority of a process: `other 0`, `fifo 40`."""

    def __str__(self) -> str:
        return f"scheduling of process {self.pid}"

    def of(self, thread: int) -> str:
        policy = os.sched_getscheduler(thread)
        return f"{_POLICIES.get(policy, policy)} {os.sched_getparam(thread).sched_priority}"

    def give(self, thread: int, value: str) -> None:
        name, priority = value.split()
        policy = next((policy for policy, known in _POLICIES.items() if known == name), None)
        os.sched_setscheduler(thread, int(name) if policy is None else policy, os.sched_param(int(priority)))


class ThreadScheduling(Scheduling):
    """That of one thread alone; `pid` is its id."""

    def __str__(self) -> str:
        return f"scheduling of thread {self.pid}"

    def write(self, value: str) -> None:
        self.read()
        self.give(self.pid, value)


KINDS: Mapping[str, Callable[..., Setting]] = {
    kind.__name__: kind for kind in (File, Offloads, Processors, Scheduling, ThreadScheduling)
}


@dataclass(frozen=True)
class Change:
    """What `setting` is, what it should be, and why."""

    setting: Setting
    was: str
    wanted: str
    why: str

    @property
    def due(self) -> bool:
        return self.was != self.wanted


def span(cpus: tuple[int, ...]) -> str:
    """Processors as the kernel lists them: `2,4-7`."""
    runs = groupby(enumerate(cpus), lambda place_and_cpu: place_and_cpu[1] - place_and_cpu[0])
    ends = [(run[0][1], run[-1][1]) for run in (list(members) for _, members in runs)]
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in ends)


def throttling() -> Iterator[Change]:
    for file, now in _files(PROC, "sys/kernel/sched_rt_runtime_us"):
        yield Change(file, now, "-1", "real-time threads are never stopped for the sake of others")


def governors() -> Iterator[Change]:
    for file, now in _files(SYS, "devices/system/cpu/cpu[0-9]*/cpufreq/scaling_governor"):
        yield Change(file, now, "performance", "a processor does not have to speed up first")


def receive_buffers() -> Iterator[Change]:
    for file, now in _files(PROC, "sys/net/core/rmem_default"):
        wanted = max(int(now), RECEIVE_BUFFER_BYTES)
        yield Change(file, now, str(wanted), "sockets that Open vSwitch opens from now on queue frames, not lose them")


def memory() -> Iterator[Change]:
    for file, now in _files(SYS, "kernel/mm/transparent_hugepage/defrag"):
        wanted = "madvise" if now == "always" else now
        yield Change(file, now, wanted, "no thread waits until the kernel has made room for a large page")


def interrupts(cpus: tuple[int, ...]) -> Iterator[Change]:
    """Keeps them off `cpus`."""
    for file, now in _files(PROC, "irq/default_smp_affinity"):
        rest = int(now.replace(",", ""), 16) & ~_mask(cpus)
        if cpus and rest:
            yield Change(file, now, _like(now, rest), f"interrupts set up later stay off processors {span(cpus)}")


def vswitchd(cpus: tuple[int, ...]) -> Iterator[Change]:
    """Gives the system's ovs-vswitchd `cpus`, if there are any, and a real-time priority."""
    system = of_system()
    if system is None:
        return
    with suppress(FileNotFoundError, ProcessLookupError):
        process = system.vswitchd_pid, started(system.vswitchd_pid)
        scheduling = Scheduling(*process)
        if cpus:
            yield _pinned("ovs-vswitchd", Processors(*process), cpus)
        why = "ovs-vswitchd runs before all that has no deadline"
        yield Change(scheduling, scheduling.read(), f"fifo {VSWITCHD_PRIORITY}", why)


def shims(cpus: tuple[int, ...]) -> Iterator[Change]:
    """Gives the running shims `cpus`, if there are any, and the real-time priority that they could not take themselves.

    One that was started with `--cpus`, or without a priority, stays so. Another user's process is none, whatever it
    calls itself.
    """
    for directory in PROC.glob("[0-9]*"):
        with suppress(FileNotFoundError, ProcessLookupError, PermissionError):
            yield from _shim(int(directory.name), cpus)


def _shim(pid: int, cpus: tuple[int, ...]) -> Iterator[Change]:
    """The changes to a shim or its guard; none to any other process, such as the `sudo` that started it."""
    threads = _shim_threads(pid) if _is_ours(pid) else {}
    options = _shim_options(pid) if threads else None
    if options is None:
        return
    if cpus and not options.cpus:
        yield _pinned("the shim", Processors(pid, started(pid)), cpus)
    for thread, name in threads.items() if options.priority else ():
        scheduling = ThreadScheduling(thread, started(thread))
        priority = min(options.priority + SHIM_THREADS[name], HIGHEST_PRIORITY)
        wanted = f"fifo {priority}" if priority else "other 0"
        yield Change(scheduling, scheduling.read(), wanted, f"{name} of a shim runs before all that is less urgent")


def _is_ours(pid: int) -> bool:
    """Whether all user ids of a process are our own; in a `sudo` that another user has started not all are root's."""
    ids = re.search(r"^Uid:(.*)$", _said_of(pid, "status"), re.MULTILINE)
    return ids is not None and set(map(int, ids[1].split())) == {os.geteuid()}


class _Options(argparse.ArgumentParser):
    """Those of a shim. Raises ValueError for what they cannot be."""

    def __init__(self) -> None:
        super().__init__(add_help=False)
        self.add_argument("--priority", type=int, default=PRIORITY)
        self.add_argument("--cpus", type=processors)

    def error(self, message: str) -> NoReturn:
        raise ValueError(message)


def _shim_options(pid: int) -> argparse.Namespace | None:
    """What a process was started with; None if it is no `rtvnic shim` but, say, a benchmark with a shim in it."""
    words = _said_of(pid, "cmdline").split("\0")
    if not any(Path(program).name == "rtvnic" and verb == "shim" for program, verb in pairwise(words)):
        return None
    with suppress(ValueError):
        return _Options().parse_known_args(words)[0]
    return None


def _shim_threads(pid: int) -> dict[int, str]:
    """The names of those of a process's threads that are a shim's, by thread id."""
    threads = [int(directory.name) for directory in (PROC / str(pid) / "task").iterdir()]
    names = {thread: _said_of(thread, "comm").strip() for thread in threads}
    return {thread: name for thread, name in names.items() if name in SHIM_THREADS}


def _pinned(what: str, setting: Processors, cpus: tuple[int, ...]) -> Change:
    why = f"{what} runs on the data plane's processors, {span(cpus)}"
    return Change(setting, setting.read(), f"{_mask(cpus):x}", why)


def uplink(interface: str) -> Iterator[Change]:
    """An interface that leads to other machines. Raises CannotRun if there is none of that name."""
    mtu = File(str(SYS / "class/net" / interface / "mtu"))
    offloads = Offloads(interface)
    try:
        now = mtu.read()
        yield Change(mtu, now, str(max(int(now), LABELLED_MTU)), "a VM's full frame fits with its labels")
        yield Change(offloads, offloads.read(), "none", "frames are scheduled as they are on the wire")
    except OSError as error:
        raise CannotRun(f"cannot tune the interface {interface}: {error.strerror}", "see `ip link`") from None


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "`rtvnic up` itself sets priorities, and MTU and offloads of the interfaces that it makes. "
        "Exit code: 0 if all is as it should be, 2 if something cannot be set."
    )
    direction = parser.add_mutually_exclusive_group()
    direction.add_argument(
        "--uplink",
        action="append",
        default=[],
        metavar="IFACE",
        help="also MTU and offloads of this interface to other machines; may be repeated",
    )
    direction.add_argument("--undo", action="store_true", help="restore what was there before the first `tune`")
    parser.add_argument("--json", action="store_true", help="print the changes as JSON")


def run(args: argparse.Namespace) -> int:
    usable = usable_cpus()
    cpus = data_plane_cpus(usable)
    done, refused = _undo() if args.undo else _tune(_wanted(cpus, args.uplink))
    rows = [(str(change.setting), change.was, change.wanted, change.why) for change in done]
    if args.json:
        print(json.dumps([dict(zip(HEADERS, row, strict=True)) for row in rows], indent=2))
    elif rows:
        print(aligned(HEADERS, [(setting, _short(was), _short(now), why) for setting, was, now, why in rows]))
    elif not refused:
        print("nothing to undo" if args.undo else "all is as it should be")
    for hint in _hints(usable, args.uplink) if cpus and not args.undo else ():
        print(f"hint: {hint}", file=sys.stderr)
    if refused:
        what = "; ".join(f"{change.setting} to {change.wanted}: {why}" for change, why in refused.items())
        raise CannotRun(f"cannot set {what}", "run it as root, outside a container")
    return 0


def _hints(usable: Collection[int], uplinks: Iterable[str]) -> Iterator[str]:
    """What else would keep interrupts off the data plane's processors, of those `usable`; for people to do."""
    cpus = data_plane_cpus(usable)
    if _runs("irqbalance"):
        banned = f"IRQBALANCE_BANNED_CPULIST={span(cpus)} in /etc/default/irqbalance"
        yield f"irqbalance runs; keep it off the data plane's processors: {banned}"
    for interface in uplinks:
        if found := [irq for irq in _irqs(interface) if _affinity(irq) & _mask(cpus)]:
            what = f"interrupts of {interface} may come to the data plane's processors {span(cpus)}; keep them off"
            rest = span(tuple(sorted(set(usable) - set(cpus))))
            yield f"{what}: echo {rest} > /proc/irq/N/smp_affinity_list, N being {', '.join(map(str, found))}"


def _irqs(interface: str) -> list[int]:
    """The message-signalled interrupts of an interface; a virtio device's are those of what it is on."""
    device = (SYS / "class/net" / interface / "device").resolve()
    owner = device.parent if device.name.startswith("virtio") else device
    return sorted(int(entry.name) for entry in (owner / "msi_irqs").glob("*"))


def _affinity(irq: int) -> int:
    """The processors that an interrupt may come to, as a mask."""
    return sum(int(mask.replace(",", ""), 16) for _, mask in _files(PROC, f"irq/{irq}/smp_affinity"))


def _wanted(cpus: tuple[int, ...], uplinks: Iterable[str]) -> Iterator[Change]:
    """All that this machine has, due or not."""
    yield from chain(throttling(), governors(), receive_buffers(), memory(), interrupts(cpus))
    yield from chain(vswitchd(cpus), shims(cpus))
    yield from chain.from_iterable(map(uplink, uplinks))


def _tune(wanted: Iterable[Change]) -> tuple[list[Change], dict[Change, str]]:
    """Done and refused. What an earlier `tune` found is remembered rather: that was there before both."""
    due = [change for change in wanted if change.due]
    if due:  # before anything is changed
        _remember({change.setting: change.was for change in due} | _remembered())
    return _carry_out(due)


def _undo() -> tuple[list[Change], dict[Change, str]]:
    former = _remembered()
    done, refused = _carry_out([change for change in _way_back(former) if change.due])
    if former:
        _remember({change.setting: change.wanted for change in refused})
    return done, refused


def _way_back(former: Mapping[Setting, str]) -> Iterator[Change]:
    """Without the interfaces and processes that are gone."""
    for setting, value in former.items():
        try:
            yield Change(setting, setting.read(), value, "as it was")
        except OSError as error:
            if error.errno not in _GONE:
                raise CannotRun(f"cannot read {setting}: {error.strerror}", "run it as root") from None


def _carry_out(changes: Iterable[Change]) -> tuple[list[Change], dict[Change, str]]:
    """Those that are done, and those that the machine refuses, with its reasons: one does not hold up the others."""
    done, refused = [], {}
    for change in changes:
        try:
            change.setting.write(change.wanted)
            done.append(change)
        except OSError as error:
            refused[change] = error.strerror or str(error)
    return done, refused


def _remember(former: Mapping[Setting, str]) -> None:
    """`former`, and nothing else, for `--undo`."""
    file = RUN_DIR / FORMER
    records = [(type(setting).__name__, astuple(setting), value) for setting, value in former.items()]
    try:
        RUN_DIR.mkdir(mode=0o700, parents=True, exist_ok=True)
        if records:
            file.write_text(json.dumps(records))
        else:
            file.unlink(missing_ok=True)
    except OSError as error:
        raise CannotRun(f"cannot write {file}: {error.strerror}", "run it as root") from None


def _remembered() -> dict[Setting, str]:
    file = RUN_DIR / FORMER
    try:
        return {KINDS[kind](*identity): str(value) for kind, identity, value in json.loads(file.read_text())}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise CannotRun(f"cannot read {file}: {error}", "run it as root, or remove the file") from None


def started(pid: int) -> int:
    """When process `pid` was started, in clock ticks since boot. Raises FileNotFoundError if there is none."""
    return int(_said_of(pid, "stat").rpartition(")")[2].split()[19])


def _said_of(pid: int, file: str) -> str:
    """What a file below /proc says of a process or thread. Its name and command line are any bytes that it likes."""
    return (PROC / str(pid) / file).read_text(errors="replace")


def _files(root: Path, pattern: str) -> Iterator[tuple[File, str]]:
    """The files below `root` that this machine has and shows, with what they contain."""
    for path in sorted(root.glob(pattern)):
        file = File(str(path))
        with suppress(OSError):
            yield file, file.read()


def _short(value: str) -> str:
    return shorten(value, WIDEST, placeholder=" ...")


def _runs(program: str) -> bool:
    for directory in PROC.glob("[0-9]*"):
        with suppress(OSError):
            if _said_of(int(directory.name), "comm").strip() == program:
                return True
    return False


def _mask(cpus: Iterable[int]) -> int:
    return sum(1 << cpu for cpu in cpus)


def _like(former: str, mask: int) -> str:
    """`mask` with as many digits as `former`, and like there a comma before each eight."""
    digits = f"{mask:0{len(former.replace(',', ''))}x}"
    return re.sub(r"\B(?=(?:.{8})+$)", ",", digits)
