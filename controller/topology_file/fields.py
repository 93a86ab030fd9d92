"""One value of the file: how it is read, and its JSON Schema. Reading raises ValueError in the user's words."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Interface, ip_address, ip_interface
from typing import Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

from controller.handlers.declared import BUILT_IN
from controller.model import NAME_MAX, IpInterface
from controller.units import Quantity

DEFAULT_PREFIXES = {4: 24, 6: 64}
CHANNEL_NAME_MAX = 63
INTERFACE_MAX = 15
DIRECTORY_MAX = 255
_RESERVED_NAMES = {"lo", "ovs-netdev", "ovs-system"}
_MOST_LISTED = 8
_WORD_MAX = 100


@dataclass(frozen=True, eq=False)
class Value:
    """A pydantic annotation: `read` alone decides what is valid, `schema` tells an editor about it."""

    read: Callable[[Any], Any]
    schema: dict[str, Any]

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self.read)

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return dict(self.schema)


def shown(value: object) -> str:
    """`value` in an error message, as the user wrote it where that is short."""
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    if value is None:
        return "nothing"
    return f"'{str(value).lower() if isinstance(value, bool) else value}'"


def suggestion(word: str, allowed: Iterable[str]) -> str:
    """The end of a message about an unknown `word`: what was probably meant, else what is allowed."""
    return _suggestion(word[:_WORD_MAX], tuple(allowed))


@lru_cache(maxsize=4096)
def _suggestion(word: str, allowed: tuple[str, ...]) -> str:
    close = difflib.get_close_matches(word, allowed, n=1)
    if close:
        return f"did you mean '{close[0]}'?"
    if not allowed:
        return "none is declared"
    rest = ", ..." if len(allowed) > _MOST_LISTED else ""
    return f"allowed: {', '.join(allowed[:_MOST_LISTED])}{rest}"


def quantity(kind: Quantity, low: int, high: int) -> Value:
    """A quantity with its unit, from `low` to `high` in the base unit."""

    def read(value: Any) -> int:
        if not isinstance(value, str | int) or isinstance(value, bool):
            raise ValueError(f"{shown(value)} is not a {kind.kind}; write {kind.example}")
        amount = kind.parse(str(value))
        if not low <= amount <= high:
            raise ValueError(f"{shown(value)} is out of range; allowed: {kind.format(low)} to {kind.format(high)}")
        return amount

    units = "|".join(kind.units)
    return Value(read, {"type": "string", "pattern": rf"^\s*\d{{1,12}}(\.\d{{1,9}})?\s*({units})\s*$"})


def whole_number(low: int, high: int) -> Value:
    """A whole number from `low` to `high`."""

    def read(value: Any) -> int:
        if isinstance(value, str) and value.isdecimal():
            raise ValueError(f"{shown(value)} is text; write the number without quotes")
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise ValueError(f"{shown(value)} is not a whole number from {low} to {high}")
        return value

    return Value(read, {"type": "integer", "minimum": low, "maximum": high})


def choice(allowed: Sequence[Any]) -> Value:
    """One of a few words or numbers."""
    words = tuple(str(word) for word in allowed)

    def read(value: Any) -> Any:
        if value in allowed and not isinstance(value, bool):
            return allowed[allowed.index(value)]
        raise ValueError(f"{shown(value)} is not possible here; {suggestion(str(value), words)}")

    return Value(read, {"enum": list(allowed)})


def name(pattern: str, longest: int, reserved: Iterable[str] = ()) -> Value:
    """A name that the file gives to something."""

    def read(value: Any) -> str:
        if not isinstance(value, str) or not re.fullmatch(pattern, value):
            raise ValueError(f"{shown(value)} is not a name; write {_NAME_RULES[pattern]}")
        if len(value) > longest:
            raise ValueError(f"{shown(value)} has {len(value)} characters; at most {longest}")
        if value in reserved:
            raise ValueError(f"{shown(value)} is taken by the system; choose another name")
        return value

    return Value(read, {"type": "string", "pattern": f"^{pattern}$", "maxLength": longest})


def _reference(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{shown(value)} is not a name; write a name that the file declares")
    return value


def _interface(value: Any) -> IpInterface:
    match = re.fullmatch(r"([0-9a-fA-F:.]{2,45})(/\d{1,3})?", value, re.ASCII) if isinstance(value, str) else None
    if match is None:
        raise ValueError(f"{shown(value)} is not an IP address; {_ADDRESS_EXAMPLE}")
    try:
        address = ip_address(match[1])
        found = ip_interface(f"{address}{match[2] or f'/{DEFAULT_PREFIXES[address.version]}'}")
    except ValueError:
        raise ValueError(f"{shown(value)} is not an IP address; {_ADDRESS_EXAMPLE}") from None
    if unusable := _unusable(found):
        raise ValueError(f"{shown(value)} is {unusable}; write the address of one machine")
    return found


def _unusable(interface: IpInterface) -> str:
    """Why no machine can have this address; empty if one can."""
    kinds = {
        "the unspecified address": interface.ip.is_unspecified,
        "a loopback address": interface.ip.is_loopback,
        "a multicast address": interface.ip.is_multicast,
        "a reserved address": interface.ip.is_reserved,
    }
    network, host_bits = interface.network, interface.max_prefixlen - interface.network.prefixlen
    if host_bits > 1:
        kinds["the address of a whole network"] = interface.ip == network.network_address
        broadcast = isinstance(interface, IPv4Interface) and interface.ip == network.broadcast_address
        kinds["a broadcast address"] = broadcast
    return next((kind for kind, applies in kinds.items() if applies), "")


def _mac(value: Any) -> str:
    text = value.lower() if isinstance(value, str) else ""
    if not re.fullmatch(r"([0-9a-f]{2}:){5}[0-9a-f]{2}", text):
        raise ValueError(f"{shown(value)} is not a MAC address; write one such as '02:00:00:00:00:01'")
    if int(text[:2], 16) & 1 or text == "00:00:00:00:00:00":
        raise ValueError(f"{shown(value)} is not the MAC address of one machine; write one such as '02:00:00:00:00:01'")
    return text


def _listen_address(value: Any) -> str:
    try:
        address = ip_address(value if isinstance(value, str) else "")
    except ValueError:
        raise ValueError(f"{shown(value)} is not an IP address; write one such as 127.0.0.1") from None
    if address.is_multicast:
        raise ValueError(f"{shown(value)} is a multicast address; write the address of one machine")
    return str(address)


def _directory(value: Any) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= DIRECTORY_MAX or not value.isprintable():
        raise ValueError(f"{shown(value)} is not the path of a directory; write one such as pki")
    return value


_NODE = r"[a-z][a-z0-9-]*"
_WORD = r"[a-z0-9][a-z0-9-]*"
_DEVICE = r"[A-Za-z0-9][A-Za-z0-9_.-]*"
_NAME_RULES = {
    _NODE: "a lower-case letter, then lower-case letters, digits and '-'",
    _WORD: "lower-case letters, digits and '-'",
    _DEVICE: "letters, digits, '-', '_' and '.'",
}
_ADDRESS_EXAMPLE = 'write one such as 10.0.0.1, 10.0.0.1/24 or "fd00::1"'

NODE_NAME = name(_NODE, NAME_MAX, _RESERVED_NAMES)
CLASS_NAME = name(_WORD, CHANNEL_NAME_MAX)
CHANNEL_NAME = name(_NODE, CHANNEL_NAME_MAX)
HANDLER_NAME = name(_NODE, CHANNEL_NAME_MAX, BUILT_IN)
INTERFACE_NAME = name(_DEVICE, INTERFACE_MAX, _RESERVED_NAMES)
REFERENCE = Value(_reference, {"type": "string"})
IP_INTERFACE = Value(_interface, {"type": "string", "pattern": r"^[0-9a-fA-F:.]+(/\d{1,3})?$"})
MAC = Value(_mac, {"type": "string", "pattern": "^([0-9a-fA-F]{2}:){5}[0-9a-fA-F]{2}$"})
DIRECTORY = Value(_directory, {"type": "string", "minLength": 1, "maxLength": DIRECTORY_MAX})
LISTEN_ADDRESS = Value(_listen_address, {"type": "string"})
