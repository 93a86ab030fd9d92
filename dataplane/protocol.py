"""What the shim's socket speaks: newline-delimited JSON, a request in, an answer out. Opens no socket.

`{"id": 7, "op": "statistics"}` is answered by `{"id": 7, "ok": true, ...}` or `{"id": 7, "ok": false, "error": "..."}`.
After `subscribe` the other side is sent events too: `{"event": "misses", "misses": [...], "channels": [...]}`, where
`channels` sum up all misses of those channels since they were last told of, and `misses` are some of the last. `ready`
says that the settings are complete: until the first one, packets go past a shim that holds a liveness TAP. One that was
started again has the channels that `labels` tells, and is ready if it was so before.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from dataplane.errors import RequestError, ShimError
from dataplane.terms import Late, Terms

Json = dict[str, Any]

LINE_BYTES_MAX = 1 << 20
LABELS = range(16, 1 << 20)
RATES_BPS = range(10**12)
DURATIONS_NS = range(5_000_000_001)
CLOCK_ERRORS_NS = range(10_000_000_001)
"""Beyond half a wrap of the stamp no packet is late for certain."""

SETTINGS = {
    "rate_bps": RATES_BPS,
    "be_slack_ns": DURATIONS_NS,
    "allowance_ns": DURATIONS_NS,
}
"""Of the link, with what is allowed. The allowance is what of each deadline the host may take."""

TERMS_NUMBERS = {
    "rate_bps": RATES_BPS,
    "burst_bytes": range(1 << 31),
    "downstream_ns": DURATIONS_NS,
}
"""Of a channel, with what is allowed; rate and burst are counted on the wire."""


class Target(Protocol):
    """What the requests are for: a dataplane.shim.Shim."""

    rate_bps: int
    be_slack_ns: int
    allowance_ns: int
    labels: set[int]

    def configure(self, rate_bps: int, be_slack_ns: int, allowance_ns: int) -> None: ...
    def set_channels(self, channels: Mapping[int, Terms]) -> None: ...
    def remove_channels(self, labels: Iterable[int]) -> None: ...
    def ready(self) -> None: ...
    def statistics(self, labels: Iterable[int]) -> Json: ...


class Session:
    """One client's side of the conversation. `wants_misses` is true from its subscription on.

    `on_removal` is called with the labels of channels that it has removed, before others can have them.
    """

    def __init__(self, target: Target, on_removal: Callable[[Iterable[int]], None] = lambda _: None) -> None:
        self.wants_misses = False
        self._target = target
        self._on_removal = on_removal
        self._operations = {
            "configure": self._configure,
            "channels": self._channels,
            "labels": self._tell_labels,
            "statistics": self._statistics,
            "subscribe": self._subscribe,
            "ready": self._ready,
        }

    def answer(self, line: bytes) -> bytes:
        """Carry out the request in `line` and return the line to send back."""
        request: Json = {}
        try:
            request = _parse(line)
            answer = encode({"id": request.get("id"), "ok": True, **self._carry_out(request)})
            if len(answer) > LINE_BYTES_MAX:
                raise RequestError(f"the answer has {len(answer)} bytes, more than a line; ask for fewer `labels`")
            return answer
        except (RequestError, ShimError) as error:
            return encode({"id": request.get("id"), "ok": False, "error": str(error)})

    def _carry_out(self, request: Json) -> Json:
        operation = request.get("op")
        if not isinstance(operation, str) or operation not in self._operations:
            raise RequestError(f"op: {operation!r} is unknown; allowed: {', '.join(self._operations)}")
        return self._operations[operation](request)

    def _configure(self, request: Json) -> Json:
        before = {name: getattr(self._target, name) for name in SETTINGS}
        wanted = {name: _require(request.get(name, before[name]), allowed, name) for name, allowed in SETTINGS.items()}
        self._target.configure(**wanted)
        return wanted

    def _channels(self, request: Json) -> Json:
        wanted = dict(_channel(channel, f"set[{at}]") for at, channel in enumerate(_list(request, "set")))
        unwanted = _labels(request, "remove")
        self._target.remove_channels(unwanted)
        self._on_removal(unwanted)
        self._target.set_channels(wanted)
        return {"count": len(self._target.labels)}

    def _tell_labels(self, _: Json) -> Json:
        return {"labels": sorted(self._target.labels)}

    def _statistics(self, request: Json) -> Json:
        asked = _labels(request, "labels") if "labels" in request else self._target.labels
        return self._target.statistics(asked)

    def _subscribe(self, request: Json) -> Json:
        topics = _list(request, "to")
        if topics != ["misses"]:
            raise RequestError(f"to: {topics!r} is unknown; allowed: ['misses']")
        self.wants_misses = True
        return {}

    def _ready(self, _: Json) -> Json:
        self._target.ready()
        return {}


def encode(message: Json) -> bytes:
    """`message` as a line."""
    return json.dumps(message, separators=(",", ":")).encode() + b"\n"


def _parse(line: bytes) -> Json:
    try:
        request = json.loads(line)
    except (ValueError, RecursionError):
        raise RequestError("the line is not JSON") from None
    if not isinstance(request, dict):
        raise RequestError("the line is not a JSON object")
    return request


def _list(request: Json, name: str) -> list[Any]:
    values = request.get(name, [])
    if not isinstance(values, list):
        raise RequestError(f"{name}: {values!r} is not a list")
    return values


def _labels(request: Json, name: str) -> list[int]:
    return [_require(label, LABELS, f"{name}[{at}]") for at, label in enumerate(_list(request, name))]


def _channel(channel: object, path: str) -> tuple[int, Terms]:
    """A channel's label and terms."""
    if not isinstance(channel, dict):
        raise RequestError(f"{path}: {channel!r} is not an object")
    numbers = {name: _require(channel.get(name), allowed, f"{path}.{name}") for name, allowed in TERMS_NUMBERS.items()}
    clock_error_ns = _require(channel.get("clock_error_ns", 0), CLOCK_ERRORS_NS, f"{path}.clock_error_ns")
    late = channel.get("late", Late.DEMOTE)
    if late not in list(Late):
        raise RequestError(f"{path}.late: {late!r} is unknown; allowed: {', '.join(Late)}")
    label = _require(channel.get("label"), LABELS, f"{path}.label")
    return label, Terms(
        **numbers,
        late=Late(late),
        strips_labels=_flag(channel, "strips_labels", path),
        is_shaped=_flag(channel, "is_shaped", path),
        clock_error_ns=clock_error_ns,
    )


def _flag(channel: Json, name: str, path: str) -> bool:
    """False where nothing is said."""
    value = channel.get(name, False)
    if not isinstance(value, bool):
        raise RequestError(f"{path}.{name}: {value!r} is not true or false")
    return value


def _require(value: object, allowed: range, path: str) -> int:
    if type(value) is not int or value not in allowed:
        raise RequestError(f"{path}: {value!r} is not an integer of {allowed.start} to {allowed.stop - 1}")
    return value
