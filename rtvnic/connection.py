"""How a verb reaches a controller's REST API: by its Unix socket, or over TCP, and then what proves who asks: a token,
and beyond this machine a certificate."""

from __future__ import annotations

import argparse
import socket
from pathlib import Path
from typing import TYPE_CHECKING

from controller.errors import CannotRun

if TYPE_CHECKING:
    import httpx

CERTIFICATE = "store"
"""What a verb shows of `tls` files, to the store and over REST; the store shows it too."""

UNIX = "unix:"
LOCAL_URL = "http://localhost"
PROBE_TIMEOUT_S = 2.0
CURE = "start the network (rtvnic up FILE), or give --at its address"


def connection_arguments(parser: argparse.ArgumentParser) -> None:
    """The options that `reach` reads."""
    parser.add_argument("--token-file", type=Path, metavar="FILE", help="a file with a token, for --at URL")
    parser.add_argument("--tls", type=Path, metavar="DIR", help="the directory of the certificates, for https")


def reach(args: argparse.Namespace, at: str, timeout: httpx.Timeout | float) -> httpx.Client:
    """For the controller at `at`, a URL or unix:PATH. Raises CannotRun."""
    if at.startswith(UNIX):
        return local(Path(at.removeprefix(UNIX)), timeout)
    return _distant(args, at, timeout)


def local(path: Path, timeout: httpx.Timeout | float) -> httpx.Client:
    """For the controller that serves the Unix socket `path`: there root asks without TLS or token. Raises CannotRun."""
    import httpx  # slow to import

    if reason := why_silent(path):
        raise CannotRun(f"no controller answers at {UNIX}{path}: {reason}", CURE)
    transport = httpx.HTTPTransport(uds=str(path))
    return httpx.Client(transport=transport, base_url=LOCAL_URL, timeout=timeout, trust_env=False)


def why_silent(path: Path) -> str:
    """Why nobody answers at the Unix socket `path`; empty if somebody does."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(PROBE_TIMEOUT_S)
        try:
            probe.connect(str(path))
        except OSError as error:
            return error.strerror or str(error)
    return ""


def _distant(args: argparse.Namespace, url: str, timeout: httpx.Timeout | float) -> httpx.Client:
    import httpx  # slow to import

    from controller.store.remotes import tls_files
    from controller.tls import rest_context

    headers = {"Authorization": f"Bearer {_secret(args.token_file)}"} if args.token_file else {}
    verify = rest_context(tls_files(args.tls, CERTIFICATE) if args.tls else None)
    try:
        return httpx.Client(base_url=url, headers=headers, verify=verify, timeout=timeout, trust_env=False)
    except httpx.InvalidURL as error:
        raise CannotRun(f"'{url}' is no address: {error}", "write http://127.0.0.1:8181 or unix:PATH") from None


def _secret(file: Path) -> str:
    try:
        return file.read_text("ascii").strip()
    except (OSError, ValueError) as error:
        raise CannotRun(f"cannot read {file}: {error}", "put a token of `rtvnic token add` into it") from None
