"""Tuning changes what differs, says so, and gives everything back."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from pyroute2.ethtool.ioctl import NotSupportedError

from rtvnic import tune
from rtvnic.__main__ import main
from rtvnic.tune import File, Offloads, OfThreads, Processors, Scheduling, ThreadScheduling, span, started

RUNTIME = "proc/sys/kernel/sched_rt_runtime_us"
BUFFER = "proc/sys/net/core/rmem_default"
INTERRUPTS = "proc/irq/default_smp_affinity"
DEFRAG = "sys/kernel/mm/transparent_hugepage/defrag"
MTU = "sys/class/net/eth7/mtu"
GOVERNOR = "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"

THREADS = """
import os, threading, time
apart = threading.Thread(target=lambda: (os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0)), time.sleep(60)))
alike = threading.Thread(target=time.sleep, args=(60,))
alike.start(), apart.start()
while os.sched_getscheduler(apart.native_id) != os.SCHED_IDLE:
    time.sleep(0.01)
print(alike.native_id, apart.native_id, flush=True)
"""

SHIM = """
import os, threading, time
def named(name):
    open("/proc/thread-self/comm", "w").write(name)
    time.sleep(60)
threads = [threading.Thread(target=named, args=(name,)) for name in ("edf-egress", "edf-check")]
for thread in threads:
    thread.start()
    while open(f"/proc/self/task/{thread.native_id}/comm").read() == open("/proc/self/comm").read():
        time.sleep(0.01)
print(*(thread.native_id for thread in threads), flush=True)
"""


def put(machine: Path, file: str, text: str) -> Path:
    path = machine / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with two processors and two settings, of which one is as it should be. No Open vSwitch runs."""
    monkeypatch.setattr(tune, "RUN_DIR", tmp_path / "run")
    monkeypatch.setattr(tune, "PROC", tmp_path / "proc")
    monkeypatch.setattr(tune, "SYS", tmp_path / "sys")
    monkeypatch.setattr(tune, "of_system", lambda: None)
    monkeypatch.setattr(tune, "usable_cpus", lambda: range(2))
    put(tmp_path, RUNTIME, "950000\n")
    put(tmp_path, GOVERNOR, "performance\n")
    return tmp_path


@pytest.fixture
def process(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[int, int, int]]:
    """A real one: its pid, a thread that is as its main thread, a thread that is not."""
    monkeypatch.setattr(tune, "PROC", Path("/proc"))
    with subprocess.Popen([sys.executable, "-c", THREADS], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout
        alike, apart = map(int, child.stdout.readline().split())
        yield child.pid, alike, apart
        child.kill()


@pytest.fixture
def start_shim(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., tuple[int, int, int]]]:
    """Starts what looks like a shim that has no priority; returns its pid, its egress thread, its check."""
    monkeypatch.setattr(tune, "PROC", Path("/proc"))
    children = []

    def start(*options: str, program: str = "rtvnic") -> tuple[int, int, int]:
        words = [sys.executable, "-c", SHIM, program, "shim", "app", "wire", *options]
        children.append(subprocess.Popen(words, stdout=subprocess.PIPE, text=True))
        assert children[-1].stdout
        egress, check = map(int, children[-1].stdout.readline().split())
        return children[-1].pid, egress, check

    yield start
    for child in children:
        child.kill()
        child.communicate()


class Ethtool:
    """Stands in for the kernel's answers about an interface; `features` by name: on, changeable."""

    features: dict[str, tuple[bool, bool]]
    refuses = False

    def __init__(self, interface: str) -> None:
        assert interface == "eth7"

    def close(self) -> None:
        pass

    def get_features(self) -> Features:
        return Features(self.features)

    def set_features(self, features: Features) -> None:
        if self.refuses:
            raise NotSupportedError
        for name, on in features.changed.items():
            self.features[name] = on, True


class Features:
    def __init__(self, features: dict[str, tuple[bool, bool]]) -> None:
        self._features = features
        self.changed: dict[str, bool] = {}

    def __iter__(self) -> Iterator[tuple[str, bool, bool, int, int]]:
        return ((name, on, changeable, 0, 0) for name, (on, changeable) in self._features.items())

    def __setitem__(self, name: str, on: bool) -> None:
        self.changed[name] = on


@pytest.fixture
def ethtool(machine: Path, monkeypatch: pytest.MonkeyPatch) -> type[Ethtool]:
    """The interface `eth7`."""
    Ethtool.features = {
        "rx-gro": (True, True),
        "rx-lro": (False, False),
        "rx-gro-hw": (False, True),
        "rx-checksum": (True, True),
        "tx-checksum-ip-generic": (True, True),
        "tx-tcp-segmentation": (True, True),
        "tx-gso-robust": (True, False),
    }
    monkeypatch.setattr(Ethtool, "refuses", False)
    monkeypatch.setattr(tune, "IoctlEthtool", Ethtool)
    put(machine, MTU, "1500\n")
    return Ethtool


def test_only_what_differs_is_changed_and_told(machine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tune", "--json"]) == 0
    assert (machine / RUNTIME).read_text() == "-1"
    (change,) = json.loads(capsys.readouterr().out)
    assert change["why"]
    assert {**change, "why": ""} == {"setting": str(machine / RUNTIME), "was": "950000", "is": "-1", "why": ""}


def test_a_second_time_changes_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    main(["tune"])
    capsys.readouterr()
    assert main(["tune"]) == 0
    assert capsys.readouterr().out == "all is as it should be\n"


def test_undo_gives_back_what_was_there_before_the_first(machine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["tune"])
    (machine / RUNTIME).write_text("500000")
    main(["tune"])
    assert main(["tune", "--undo"]) == 0
    assert (machine / RUNTIME).read_text() == "950000"
    capsys.readouterr()
    assert main(["tune", "--undo"]) == 0
    assert capsys.readouterr().out == "nothing to undo\n"


def test_what_cannot_be_remembered_is_not_changed(machine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (machine / "run").write_text("a file where a directory is needed")
    assert main(["tune"]) == 2
    assert "cannot" in capsys.readouterr().err
    assert (machine / RUNTIME).read_text() == "950000\n"


@pytest.mark.parametrize("damaged", ["{", "7", '{"a": "b"}', '[["Planet", [], "9"]]', '[["File", [], "9"]]'])
def test_a_damaged_memory_is_said(machine: Path, capsys: pytest.CaptureFixture[str], damaged: str) -> None:
    put(machine, "run/tuned.json", damaged)
    assert main(["tune", "--undo"]) == 2
    assert "remove the file" in capsys.readouterr().err


def test_what_the_machine_refuses_does_not_hold_up_the_rest(
    machine: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    put(machine, BUFFER, "212992\n")
    write = File.write

    def refusing(file: File, value: str) -> None:
        if file.path.endswith("sched_rt_runtime_us"):
            raise PermissionError(1, "Operation not permitted")
        write(file, value)

    with monkeypatch.context() as refusal:
        refusal.setattr(File, "write", refusing)
        assert main(["tune"]) == 2
        assert (machine / BUFFER).read_text() == "4194304"
        printed = capsys.readouterr()
        assert "rmem_default" in printed.out and "sched_rt_runtime_us to -1: Operation not permitted" in printed.err
    main(["tune"])
    with monkeypatch.context() as refusal:
        refusal.setattr(File, "write", refusing)
        assert main(["tune", "--undo"]) == 2
        assert (machine / BUFFER).read_text() == "212992"
    assert main(["tune", "--undo"]) == 0, "what could not be undone is still remembered"
    assert (machine / RUNTIME).read_text() == "950000"


def test_buffers_are_only_made_larger(machine: Path) -> None:
    larger = put(machine, BUFFER, "8388608\n")
    main(["tune"])
    assert larger.read_text() == "8388608\n"


@pytest.mark.parametrize(
    ("choices", "after"),
    [
        ("[always] defer madvise never\n", "madvise"),
        ("always [defer] madvise never\n", "always [defer] madvise never\n"),
    ],
)
def test_only_eager_defragmentation_is_changed(machine: Path, choices: str, after: str) -> None:
    defrag = put(machine, DEFRAG, choices)
    main(["tune"])
    assert defrag.read_text() == after


def test_processors_are_named_as_the_kernel_does() -> None:
    assert [span(cpus) for cpus in ((2,), (4, 5, 6, 7), (1, 3, 4, 8))] == ["2", "4-7", "1,3-4,8"]


@pytest.mark.parametrize(
    ("count", "before", "after"),
    [
        (2, "3\n", "3\n"),
        (8, "ff\n", "0f"),
        (8, "f0\n", "f0\n"),
        (40, "ff,ffffffff\n", "0f,ffffffff"),
        (64, "ffffffff,ffffffff\n", "0fffffff,ffffffff"),
    ],
)
def test_interrupts_stay_off_the_data_plane(
    machine: Path, monkeypatch: pytest.MonkeyPatch, count: int, before: str, after: str
) -> None:
    monkeypatch.setattr(tune, "usable_cpus", lambda: range(count))
    affinity = put(machine, INTERRUPTS, before)
    main(["tune"])
    assert affinity.read_text() == after
    main(["tune", "--undo"])
    assert affinity.read_text().strip() == before.strip()


def test_irqbalance_is_a_hint_where_it_would_interfere(
    machine: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    put(machine, "proc/77/comm", "irqbalance\n")
    main(["tune"])
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(tune, "usable_cpus", lambda: range(4))
    main(["tune", "--json"])
    assert "IRQBALANCE_BANNED_CPULIST=2-3" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("device", "interrupts"),
    [("pci/0000:03:00.0", "pci/0000:03:00.0/msi_irqs"), ("pci/0000:03:00.0/virtio2", "pci/0000:03:00.0/msi_irqs")],
)
def test_interrupts_of_an_uplink_on_the_data_plane_are_a_hint(
    machine: Path,
    ethtool: type[Ethtool],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    device: str,
    interrupts: str,
) -> None:
    (machine / "sys" / device).mkdir(parents=True)
    (machine / "sys/class/net/eth7/device").symlink_to(machine / "sys" / device)
    for irq, mask in ((24, "3"), (25, "4"), (26, "00000000,0000000f"), (27, "2")):
        put(machine, f"sys/{interrupts}/{irq}", "msix\n")
        put(machine, f"proc/irq/{irq}/smp_affinity", f"{mask}\n")
    put(machine, "proc/irq/28/smp_affinity", "f\n")
    main(["tune", "--uplink", "eth7"])
    assert capsys.readouterr().err == "", "two processors are too few to keep any free"
    monkeypatch.setattr(tune, "usable_cpus", lambda: range(4))
    main(["tune", "--uplink", "eth7"])
    assert capsys.readouterr().err == (
        "hint: interrupts of eth7 may come to the data plane's processors 2-3; keep them off: "
        "echo 0-1 > /proc/irq/N/smp_affinity_list, N being 25, 26\n"
    )


def test_an_uplink_is_tuned_and_given_back(machine: Path, ethtool: type[Ethtool]) -> None:
    before = dict(ethtool.features)
    assert main(["tune", "--uplink", "eth7"]) == 0
    assert (machine / MTU).read_text() == "1508"
    on = {name for name, (on, _) in ethtool.features.items() if on}
    assert on == {"rx-checksum", "tx-checksum-ip-generic", "tx-gso-robust"}, "checksums and the unchangeable stay"
    assert main(["tune", "--undo"]) == 0
    assert (machine / MTU).read_text() == "1500"
    assert ethtool.features == before


def test_a_table_stays_readable_and_json_is_whole(ethtool: type[Ethtool], capsys: pytest.CaptureFixture[str]) -> None:
    ethtool.features |= {f"tx-{number}-segmentation": (True, True) for number in range(20)}
    main(["tune", "--uplink", "eth7"])
    assert "tx-19-segmentation" not in capsys.readouterr().out
    main(["tune", "--undo", "--json"])
    assert "tx-19-segmentation" in capsys.readouterr().out


def test_offloads_that_cannot_be_changed_are_said(
    ethtool: type[Ethtool], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(ethtool, "refuses", True)
    assert main(["tune", "--uplink", "eth7"]) == 2
    assert "cannot set offloads of eth7 to none" in capsys.readouterr().err


def test_an_uplink_that_does_not_exist_is_said_before_anything_is_changed(
    machine: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["tune", "--uplink", "eth8"]) == 2
    assert "eth8" in capsys.readouterr().err
    assert (machine / RUNTIME).read_text() == "950000\n"


def test_an_uplink_that_is_gone_needs_no_undoing(
    machine: Path, ethtool: type[Ethtool], monkeypatch: pytest.MonkeyPatch
) -> None:
    main(["tune", "--uplink", "eth7"])
    (machine / MTU).unlink()
    monkeypatch.setattr(Offloads, "read", lambda self: Path("/sys/class/net/gone/mtu").read_text())
    assert main(["tune", "--undo"]) == 0
    assert not (machine / "run/tuned.json").exists()


def test_the_threads_of_a_process_change_together_but_for_those_set_apart(process: tuple[int, int, int]) -> None:
    pid, *_ = process
    scheduling = Scheduling(pid, started(pid))
    for value in ("batch 0", "other 0"):
        scheduling.write(value)
        assert [scheduling.of(thread) for thread in process] == [value, value, "idle 0"]
    assert scheduling.read() == "other 0"


def test_a_process_is_pinned_and_set_free(process: tuple[int, int, int]) -> None:
    pid, alike, _ = process
    processors = Processors(pid, started(pid))
    free, first = processors.read(), min(os.sched_getaffinity(pid))
    processors.write(f"{1 << first:x}")
    assert os.sched_getaffinity(pid) == os.sched_getaffinity(alike) == {first}
    processors.write(free)
    assert processors.read() == processors.of(alike) == free


def test_another_process_with_the_same_pid_is_not_touched(
    machine: Path, process: tuple[int, int, int], capsys: pytest.CaptureFixture[str]
) -> None:
    pid = process[0]
    put(machine, "run/tuned.json", json.dumps([["Scheduling", [pid, started(pid) - 1], "batch 0"]]))
    assert main(["tune", "--undo"]) == 0
    assert capsys.readouterr().out == "nothing to undo\n"
    assert os.sched_getscheduler(pid) == os.SCHED_OTHER


def test_open_vswitch_gets_a_priority_and_the_processors_of_the_data_plane_if_there_are_any(
    process: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tune, "of_system", lambda: SimpleNamespace(vswitchd_pid=process[0]))
    assert [str(each.setting) for each in tune.vswitchd(())] == [f"scheduling of process {process[0]}"]
    processors, scheduling = tune.vswitchd((2, 3))
    assert processors.wanted == "c" and "2-3" in processors.why
    assert (scheduling.was, scheduling.wanted) == ("other 0", "fifo 40")


def wanted(cpus: tuple[int, ...], *of: int) -> dict[str, str]:
    """What is wanted of the processes and threads `of`, by setting."""
    changes = [change for change in tune.shims(cpus) if cast("OfThreads", change.setting).pid in of]
    return {str(change.setting): change.wanted for change in changes}


def test_a_shim_gets_the_processors_of_the_data_plane_and_the_priority_that_it_lacks(
    start_shim: Callable[..., tuple[int, int, int]],
) -> None:
    pid, egress, check = start_shim("--priority", "30")
    priorities = {f"scheduling of thread {egress}": "fifo 30", f"scheduling of thread {check}": "fifo 29"}
    assert wanted((), pid, egress, check) == priorities
    assert wanted((2, 3), pid, egress, check) == {f"processors of process {pid}": "c"} | priorities


def test_what_a_shim_was_started_with_counts(start_shim: Callable[..., tuple[int, int, int]]) -> None:
    default, unhurried, pinned = start_shim(), start_shim("--priority=0"), start_shim("--cpus", "0", "--priority", "1")
    assert list(wanted((), *default).values()) == ["fifo 50", "fifo 49"]
    assert list(wanted((2, 3), *unhurried).values()) == ["c"]
    assert list(wanted((2, 3), *pinned).values()) == ["fifo 1", "other 0"]


def test_what_only_has_a_shim_in_it_is_left_alone(start_shim: Callable[..., tuple[int, int, int]]) -> None:
    assert wanted((2, 3), *start_shim(program="bench")) == {}


def test_what_no_shim_could_have_been_started_with_is_none(start_shim: Callable[..., tuple[int, int, int]]) -> None:
    for nonsense in (["--cpus", "junk"], ["--priority=high"], ["--cpus"], ["--=2"]):
        assert wanted((2, 3), *start_shim(*nonsense)) == {}


def put_shim(machine: Path, pid: int, ids: str) -> None:
    """A process of one thread, `edf-egress`, that calls itself `rtvnic shim`."""
    put(machine, f"proc/{pid}/status", f"Name:\tedf-egress\nUid:\t{ids}\nGid:\t0\t0\t0\t0\n")
    put(machine, f"proc/{pid}/task/{pid}/comm", "edf-egress\n")
    put(machine, f"proc/{pid}/comm", "edf-egress\n")
    put(machine, f"proc/{pid}/cmdline", "rtvnic\0shim\0app\0wire\0")
    put(machine, f"proc/{pid}/stat", f"{pid} (edf-egress) {'7 ' * 20}")


def test_another_users_process_is_no_shim(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ThreadScheduling, "of", lambda *_: "other 0")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    put_shim(machine, 71, "0\t0\t0\t0")
    put_shim(machine, 72, "1000\t1000\t1000\t1000")
    put_shim(machine, 73, "1000\t0\t0\t0")
    assert [str(change.setting) for change in tune.shims(())] == ["scheduling of thread 71"]


@pytest.mark.parametrize("name", [b"\xff\xfe", "ein_sehr_langé".encode()[:-1]])
def test_a_process_may_have_any_name(machine: Path, monkeypatch: pytest.MonkeyPatch, name: bytes) -> None:
    monkeypatch.setattr(tune, "usable_cpus", lambda: range(4))
    for file in ("comm", "task/70/comm", "cmdline"):
        put(machine, f"proc/70/{file}", "").write_bytes(name)
    put(machine, "proc/70/stat", "").write_bytes(b"70 (" + name + b") " + b"7 " * 20)
    put(machine, "proc/70/status", f"Uid:\t{os.geteuid()}\n")
    assert main(["tune"]) == 0
    assert started(70) == 7


def test_a_thread_of_a_shim_changes_alone_and_back(
    machine: Path, start_shim: Callable[..., tuple[int, int, int]]
) -> None:
    pid, egress, check = start_shim()
    scheduling = ThreadScheduling(egress, started(egress))
    scheduling.write("batch 0")
    assert [scheduling.of(thread) for thread in (pid, egress, check)] == ["other 0", "batch 0", "other 0"]
    put(machine, "run/tuned.json", json.dumps([["ThreadScheduling", [egress, started(egress)], "other 0"]]))
    assert main(["tune", "--undo"]) == 0
    assert scheduling.read() == "other 0"


def test_an_open_vswitch_that_ends_just_now_is_none(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tune, "of_system", lambda: SimpleNamespace(vswitchd_pid=1))
    assert list(tune.vswitchd((2, 3))) == []
