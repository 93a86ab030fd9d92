"""How a verb reaches a controller's REST API over TCP, and what proves who asks: a token, and beyond this machine a
certificate."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from controller.errors import CannotRun

if TYPE_CHECKING:
    import httpx

CERTIFICATE = "store"
CURE = "start the network (rtvnic up FILE), or give --at its address"


def connection_arguments(parser: argparse.ArgumentParser) -> None:
    """The options that `distant` reads."""
    parser.add_argument("--token-file", type=Path, metavar="FILE", help="a file with a token, for --at URL")
    parser.add_argument("--tls", type=Path, metavar="DIR", help="the directory of the certificates, for https")


def distant(args: argparse.Namespace, url: str, timeout: httpx.Timeout | float) -> httpx.Client:
    """For the controller at `url`. Raises CannotRun."""
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
