"""Values of a handler's entry: a program with its arguments, a URL, paths and a user. Read as in `fields`."""

from __future__ import annotations

import re
from contextlib import suppress
from ipaddress import ip_address
from typing import Any
from urllib.parse import SplitResult, urlsplit

from controller.topology_file.fields import Value, shown

WORDS_MAX = 64
WORD_CHARACTERS_MAX = 1024
PATH_CHARACTERS_MAX = 255
URL_CHARACTERS_MAX = 1024
_USER = r"[a-z_][a-z0-9_-]{0,31}"


def _words(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise ValueError(f"{shown(value)} is no list of words; write one such as [/usr/local/bin/page, --queue, rt]")
    if not 0 < len(value) <= WORDS_MAX:
        raise ValueError(f"{len(value)} words; at least the program, at most {WORDS_MAX}")
    for word in value:
        if not isinstance(word, str):
            raise ValueError(f"{shown(word)} is not text; put it in quotes")
        if len(word) > WORD_CHARACTERS_MAX or not word.isprintable():
            raise ValueError(f"each word is printable text of at most {WORD_CHARACTERS_MAX} characters")
    return (_path(value[0]), *value[1:])


def _path(value: Any) -> str:
    is_path = isinstance(value, str) and value.startswith("/") and value.isprintable()
    if not is_path or len(value) > PATH_CHARACTERS_MAX:
        raise ValueError(f"{shown(value)} is not the whole path of a file; write one that begins with /")
    return str(value)


def _url(value: Any) -> str:
    parts = _split(value)
    if parts is None or parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{shown(value)} is not a URL; write one such as https://example.org/misses")
    if parts.username is not None or parts.fragment:
        raise ValueError("the URL of a webhook has no user, password or fragment; its deliveries are signed")
    if parts.scheme == "http" and not _is_loopback(parts.hostname):
        raise ValueError(f"{shown(value)} leaves this machine in the clear; write https://, or http://127.0.0.1:PORT/")
    return str(value)


def _split(value: Any) -> SplitResult | None:
    """The parts of a URL; None if it is none."""
    if not isinstance(value, str) or len(value) > URL_CHARACTERS_MAX or not re.fullmatch(r"[!-~]+", value):
        return None
    with suppress(ValueError):
        parts = urlsplit(value)
        return parts if parts.port != 0 else None  # reading the port may be what fails
    return None


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _user(value: Any) -> str:
    if not isinstance(value, str) or not re.fullmatch(_USER, value):
        raise ValueError(f"{shown(value)} is not the name of a user; write one such as nobody")
    return value


WORDS = Value(
    _words,
    {
        "type": "array",
        "items": {"type": "string", "maxLength": WORD_CHARACTERS_MAX},
        "prefixItems": [{"type": "string", "pattern": "^/"}],
        "minItems": 1,
        "maxItems": WORDS_MAX,
    },
)
FILE = Value(_path, {"type": "string", "pattern": "^/", "maxLength": PATH_CHARACTERS_MAX})
URL = Value(_url, {"type": "string", "pattern": "^https?://", "maxLength": URL_CHARACTERS_MAX})
USER = Value(_user, {"type": "string", "pattern": f"^{_USER}$"})
