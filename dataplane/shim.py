"""The C core as a Python object: starts it, sets it, reads it. No packet ever passes through Python.

A Shim belongs to one thread, usually the main one; the core's own threads carry the packets.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import struct
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dataplane._core import ffi, lib
from dataplane.errors import ShimError
from dataplane.misses import Counted, Miss
from dataplane.state import identity, open_state
from dataplane.terms import Late, Terms

Json = dict[str, Any]

TC_COUNT = 8
HIGHEST_PRIORITY = 99
AHEAD_NS: int = lib.SCHEDULER_AHEAD_NS
"""A packet is handed to the kernel at most so long before its first bit can go."""

DISCARDED = {
    lib.ADOPTION_UNREADABLE: "of another version, or damaged",
    lib.ADOPTION_FOREIGN: "of other interfaces, or older than this boot",
}
"""Why state was not adopted."""

MISS = struct.Struct("Iqq")
"""The core's struct miss, in the machine's own order and alignment."""

TUNSETIFF = 0x400454CA
TUNSETCARRIER = 0x400454E2
IFF_TAP = 0x0002
IFF_NO_CARRIER = 0x0040
IFF_NO_PI = 0x1000


@dataclass(frozen=True)
class ShimConfig:
    """One shim: what enters by `inner` leaves by `uplink`, at `rate_bps` (0: unpaced).

    `liveness` names the TAP that is up while the shim is ready and works (empty: none); `priority` is SCHED_FIFO's
    (0: none). `state` is the file that keeps what the next process of the shim adopts (None: it begins anew); then what
    was configured goes on, unless `rate_bps` or `be_slack_ns` is another than before.
    """

    inner: str
    uplink: str
    rate_bps: int
    be_slack_ns: int
    queue_capacity: int = 16_384
    priority: int = 50
    bypass_qdisc: bool = False
    liveness: str = ""
    state: Path | None = None


class Shim:
    """A running shim. Raises ShimError if it cannot start; `close` stops it, also as a context manager.

    `labels` are the channels in the table; `warnings` tells what the machine did not permit, and of state that was
    discarded; `guard` is a pidfd of the process that holds the TAP.
    """

    def __init__(self, config: ShimConfig) -> None:
        self.config = config
        self.warnings: list[str] = []
        self.guard: int | None = None
        self._core: Any = None
        self._state = None if config.state is None else open_state(config.state)
        try:
            self._core = _open_core(config, self._state)
            self._adopt()
            self._start()
        except ShimError:
            self.close()
            raise

    def __enter__(self) -> Shim:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _adopt(self) -> None:
        """Know what the core goes on with."""
        rate_bps, be_slack_ns, allowance_ns = ffi.new("uint64_t *"), ffi.new("int64_t *"), ffi.new("int64_t *")
        lib.shim_configuration(self._core, rate_bps, be_slack_ns, allowance_ns)
        self.rate_bps, self.be_slack_ns = int(rate_bps[0]), int(be_slack_ns[0])
        self.allowance_ns = int(allowance_ns[0])
        labels = ffi.new("uint32_t[]", lib.CHANNELS_MAX)
        self.labels = set(ffi.unpack(labels, lib.shim_labels(self._core, labels)))
        why = DISCARDED.get(lib.shim_adoption(self._core))
        if why:
            self.warnings.append(f"the state in {self.config.state} is {why}: counters and channels begin anew")

    def _start(self) -> None:
        privileges = ffi.new("struct shim_privileges *")
        error = lib.shim_start(self._core, self.config.priority, privileges)
        if error:
            raise ShimError(f"the shim's threads do not start: {os.strerror(error)}", "see `ulimit -u`")
        if self.config.priority and not privileges.is_real_time:
            self.warnings.append("no real-time priority: packets are late when the CPUs are busy")
        if not privileges.is_locked:
            self.warnings.append("memory is not locked: packets are late when memory is short")
        if self.config.liveness:
            self._start_guard(_open_tap(self.config.liveness))

    def _start_guard(self, tap: int) -> None:
        priority = min(self.config.priority + 1, HIGHEST_PRIORITY) if self.config.priority else 0
        error = lib.shim_guard(self._core, tap, priority)
        os.close(tap)
        if error:
            raise ShimError(f"the shim's guard does not start: {os.strerror(error)}", "see `ulimit -u`")
        self.guard = os.pidfd_open(lib.shim_guard_pid(self._core))

    def close(self) -> None:
        """Let the TAP go down, then stop the loops. The shim is of no use afterwards; its state stays."""
        if self.guard is not None:
            os.close(self.guard)
        self.guard = None
        if self._core is not None:
            lib.shim_close(self._core)
        self._core = None
        if self._state is not None:
            os.close(self._state)
        self._state = None

    def fileno(self) -> int:
        """Readable when there are misses to take or a failure to see, until `acknowledge`."""
        return int(lib.shim_event_fd(self._core))

    def acknowledge(self) -> None:
        """Take note of what has happened, if anything. Raises ShimError if the shim has failed."""
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self.fileno())
        failure = lib.shim_failure(self._core)
        if failure:
            gone = [name for name in (self.config.inner, self.config.uplink) if not _exists(name)]
            what = f"interface {gone[0]} is gone" if gone else f"the shim has stopped: {os.strerror(failure)}"
            raise ShimError(what, "start it again when both interfaces are there")

    def configure(self, rate_bps: int, be_slack_ns: int, allowance_ns: int) -> None:
        """Set the link's rate (0: unpaced), the slack above which best effort goes first, and the host's allowance."""
        lib.shim_configure(self._core, rate_bps, be_slack_ns, allowance_ns)
        self.rate_bps, self.be_slack_ns, self.allowance_ns = rate_bps, be_slack_ns, allowance_ns

    def set_channels(self, channels: Mapping[int, Terms]) -> None:
        """Hold the channels to their terms, by label, and keep books on them. Raises ShimError if they do not fit."""
        for label, terms in channels.items():
            error = lib.shim_set_channel(self._core, label, _core_terms(terms))
            if error:
                raise ShimError(f"channel {label} does not fit: {os.strerror(error)}", "remove others first")
            self.labels.add(label)

    def remove_channels(self, labels: Iterable[int]) -> None:
        """Forget the channels of `labels` and their books; unknown ones are ignored."""
        known = self.labels.intersection(labels)
        if known:
            lib.shim_remove_channels(self._core, ffi.new("uint32_t[]", list(known)), len(known))
            self.labels -= known

    def ready(self) -> None:
        """Have the TAP go up, within milliseconds: all settings are there, packets may come."""
        lib.shim_ready(self._core)

    def await_turn(self) -> None:
        """Return when both loops have turned once more. One that hangs is waited for, for ever."""
        lib.shim_remove_channels(self._core, ffi.NULL, 0)

    def statistics(self, labels: Iterable[int]) -> Json:
        """Everything since the state began, with the books of those channels of `labels` that are in the table."""
        egress, ingress = ffi.new("struct egress_counters *"), ffi.new("struct ingress_counters *")
        lib.shim_report(self._core, egress, ingress)
        known = self.labels.intersection(labels)
        return {
            "egress": _flat(egress),
            "ingress": _flat(ingress),
            "bounds_ns": {"delay": list(lib.delay_bounds_ns), "lateness": list(lib.lateness_bounds_ns)},
            "classes": self._classes(),
            "channels": {str(label): self._books(lib.shim_report_channel, label) for label in sorted(known)},
        }

    def _classes(self) -> Json:
        """By TC, the books of those classes that have any traffic. Best effort is of class 0."""
        classes = {}
        for tc in range(TC_COUNT):
            books = self._books(lib.shim_report_class, tc)
            sent = {"packets": books.pop("sent_packets"), "bytes": books.pop("sent_bytes")}
            if sent["packets"] or books["received_packets"]:
                classes[str(tc)] = sent | books
        return classes

    def _books(self, write_report: Callable[[Any, int, Any], None], key: int) -> Json:
        report = ffi.new("struct books_report *")
        write_report(self._core, key, report)
        return _flat(report)

    def take_misses(self, limit: int) -> list[Miss]:
        """Up to `limit` misses that were not taken yet, oldest first."""
        misses = ffi.new("struct miss[]", limit)
        count = lib.shim_take_misses(self._core, misses, limit)
        content = ffi.buffer(misses, count * ffi.sizeof("struct miss"))
        return [Miss(*fields) for fields in MISS.iter_unpack(content)]

    def counted(self, labels: Iterable[int]) -> dict[int, Counted]:
        """What was received so far, by label, of those channels of `labels` that are in the table."""
        books = {label: self._books(lib.shim_report_channel, label) for label in self.labels.intersection(labels)}
        return {label: Counted(book["received_packets"], book["missed"]) for label, book in books.items()}


def die_with_parent(parent_pid: int) -> bool:
    """Have this process terminated (SIGTERM) when its parent ends; False if that is no longer `parent_pid`."""
    return bool(lib.shim_die_with_parent(parent_pid))


def _open_core(config: ShimConfig, state: int | None) -> Any:
    texts = (config.inner, config.uplink, identity(config.inner, config.uplink))
    names = [ffi.new("char[]", text.encode()) for text in texts]
    core_config = ffi.new(
        "struct shim_config *",
        {
            "inner": names[0],
            "uplink": names[1],
            "rate_bps": config.rate_bps,
            "be_slack_ns": config.be_slack_ns,
            "queue_capacity": config.queue_capacity,
            "bypass_qdisc": config.bypass_qdisc,
            "state_fd": -1 if state is None else state,
            "identity": names[2],
        },
    )
    error = ffi.new("struct shim_error *")
    core = lib.shim_open(core_config, error)
    if core == ffi.NULL:
        raise _why_not(error)
    return core


def _core_terms(terms: Terms) -> Any:
    late = list(Late).index(terms.late)
    return ffi.new("struct terms *", {**asdict(terms), "late": late})


def _why_not(error: Any) -> ShimError:
    interface = "" if error.interface == ffi.NULL else ffi.string(error.interface).decode()
    if error.number == errno.EPERM:
        return ShimError("the shim may not open raw sockets", "run it as root")
    if error.number == errno.ENODEV and interface:
        return ShimError(f"there is no interface {interface}", "`ip link` lists them")
    if error.number == errno.EAFNOSUPPORT:
        return ShimError(f"{interface} is not an Ethernet interface", "`ip link` tells the kind of each")
    if error.number == errno.ENOSPC:
        return ShimError("there is no room for the shim's state", "see `df -h /run /dev/shm`")
    where = f" on {interface}" if interface else ""
    return ShimError(f"the shim cannot start{where}: {os.strerror(error.number)}", "see `dmesg`")


def _flat(structure: Any) -> Json:
    """A C structure of report.h by the names of the protocol."""
    flat: Json = {}
    for name, field in _fields(structure):
        value = getattr(structure, name)
        kind = field.type.cname
        if kind == "struct traffic":
            flat |= {f"{name}_packets": value.packets, f"{name}_bytes": value.bytes}
        elif kind in ("struct malformed", "struct excess"):
            flat |= _flat(value)
        elif kind == "struct summary":
            flat[name] = _flat(value) if value.count else dict.fromkeys(_flat(value)) | {"count": 0}
        elif field.type.kind == "array":
            flat[name] = list(value)
        else:
            flat[name.rstrip("_")] = value
    return flat


def _fields(structure: Any) -> list[tuple[str, Any]]:
    kind = ffi.typeof(structure)
    fields: list[tuple[str, Any]] = (kind.item if kind.kind == "pointer" else kind).fields
    return fields


def _exists(interface: str) -> bool:
    return any(name == interface for _, name in socket.if_nameindex())


def _open_tap(name: str) -> int:
    """The TAP `name`, attached, without carrier. It has none either once the descriptor and its copies are closed."""
    if not _exists(name):
        raise ShimError(f"there is no interface {name}", f"make it: ip tuntap add dev {name} mode tap")
    try:
        tap = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        raise ShimError(f"/dev/net/tun does not open: {error.strerror}", "load the module: modprobe tun") from error
    try:
        fcntl.ioctl(tap, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TAP | IFF_NO_PI | IFF_NO_CARRIER))
        fcntl.ioctl(tap, TUNSETCARRIER, struct.pack("i", 0))  # kernels before 6.1 do not know IFF_NO_CARRIER
    except OSError as error:
        os.close(tap)
        raise ShimError(f"cannot hold the TAP {name}: {error.strerror}", "does another shim hold it?") from error
    return tap
