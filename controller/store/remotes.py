"""Where a store is reached, as text: `unix:/path`, `tcp:127.0.0.1:6640`, or `ssl:IP:port,ssl:IP:port,...`.

Pure. Beyond this machine only with TLS: `tcp` is refused for all but loopback addresses.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

from controller.errors import CannotRun
from controller.model import TlsFiles

FORMS = "write unix:/path, tcp:127.0.0.1:6640 or ssl:10.0.0.1:6641, several with commas"
_REMOTE = re.compile(r"unix:(?P<path>/[^,]+)|(?P<kind>tcp|ssl):(?P<host>\[[0-9a-fA-F:.]+\]|[\w.-]+):(?P<port>\d{1,5})")


def tls_files(directory: Path, name: str) -> TlsFiles:
    """Those of `name` in `directory`, as `rtvnic pki` makes them. Raises CannotRun if one is missing."""
    return require(TlsFiles.of(directory, name))


def require(files: TlsFiles) -> TlsFiles:
    """`files`. Raises CannotRun if one is missing, or not to be seen by this user."""
    for file in (files.key, files.certificate, files.authority):
        if not _is_there(file):
            raise CannotRun(f"{file} does not exist", f"make it: rtvnic pki FILE --into {file.parent}")
    return files


def _is_there(file: Path) -> bool:
    try:
        return file.is_file()
    except OSError as error:
        raise CannotRun(f"cannot look at {file}: {error.strerror}", "be a user who may, or root") from None


@dataclass(frozen=True)
class Remote:
    """One address: `kind` is `unix`, `tcp` or `ssl`, and `place` a path, or host and port."""

    kind: str
    place: str
    host: str = ""
    port: int = 0

    def __str__(self) -> str:
        return f"{self.kind}:{self.place}"

    @property
    def listening(self) -> str:
        """The same as ovsdb-server wants it, to listen there."""
        return f"p{self}" if self.kind == "unix" else f"p{self.kind}:{self.port}:{self.host}"


def parse(text: str, tls: TlsFiles | None) -> Sequence[Remote]:
    """The addresses in `text`. Raises CannotRun: malformed, `tcp` beyond loopback, or `ssl` without `tls`."""
    remotes = [_remote(part) for part in text.split(",")]
    if tls is None and any(remote.kind == "ssl" for remote in remotes):
        raise CannotRun(f"'{text}' needs certificates", "add 'tls: pki' to the topology file, or give --tls DIR")
    return remotes


def _remote(text: str) -> Remote:
    found = _REMOTE.fullmatch(text)
    if found is None or not 0 <= int(found["port"] or 0) < 1 << 16:
        raise CannotRun(f"'{text}' is no address of a store", FORMS)
    if found["path"]:
        return Remote("unix", found["path"])
    if (address := _address(found["host"])) is None:
        raise CannotRun(f"'{text}' names a host, and no name is ever looked up", "write its IP address")
    if found["kind"] == "tcp" and not address.is_loopback:
        raise CannotRun(f"'{text}' would send the store's content in the clear", f"write ssl:{text[4:]} with --tls DIR")
    return Remote(found["kind"], f"{found['host']}:{found['port']}", found["host"], int(found["port"]))


def _address(host: str) -> IPv4Address | IPv6Address | None:
    with suppress(ValueError):
        return ip_address(host.strip("[]"))
    return None
