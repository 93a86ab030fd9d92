"""How a verb reaches a controller's REST API, and what it makes of answers: by its Unix socket, or over TCP, and then
with what proves who asks: a token, and beyond this machine a certificate."""

from __future__ import annotations

import argparse
import socket
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from controller.errors import AnswerIsNo, CannotRun

if TYPE_CHECKING:
    import httpx

CERTIFICATE = "store"
"""What a verb shows of `tls` files, to the store and over REST; the store shows it too."""

UNIX = "unix:"
LOCAL_URL = "http://localhost"
PROBE_TIMEOUT_S = 2.0
CURE = "start the network (rtvnic up FILE), or give --at its address"

Json = dict[str, Any]
Found = TypeVar("Found")


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


def ask(client: httpx.Client, at: str, method: str, path: str, **options: Any) -> httpx.Response:
    """What the controller at `at`, which `client` is for, answers; `options` are those of httpx.

    Raises AnswerIsNo with all that it says against it, and CannotRun if it is unable, or no controller.
    """
    import httpx

    try:
        answer = client.request(method, path, **options)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise CannotRun(f"no controller answers at {at}: {error}", CURE) from None
    return granted(answer, at)


def granted(answer: httpx.Response, at: str) -> httpx.Response:
    """`answer`, if it is no refusal. Raises AnswerIsNo, CannotRun, as `ask` does."""
    if answer.is_success:
        return answer
    detail, lines = said(answer, at, lambda problem: (problem["detail"], _reasons(problem)))
    if answer.is_server_error:
        raise CannotRun(f"the controller at {at} cannot do it: {detail}", "ask again")
    raise AnswerIsNo("\n".join(lines or [detail]))


def said(answer: httpx.Response, at: str, find: Callable[[Any], Found]) -> Found:
    """What `find` finds in the JSON of `answer`. Raises CannotRun if a controller would not have said so."""
    try:
        return find(answer.json())
    except (ValueError, LookupError, TypeError, AttributeError):
        raise stranger(answer, at) from None


def stranger(answer: httpx.Response, at: str) -> CannotRun:
    return CannotRun(f"what answers at {at} is no controller, or a busy one ({answer.status_code})", CURE)


def _reasons(problem: Json) -> list[str]:
    """All that a problem (RFC 9457) of `controller.rest.problems` has beside its detail."""
    errors = [
        f"{each['key']}: {each['message']}" if each["key"] else each["message"] for each in problem.get("errors", ())
    ]
    return [*problem.get("reasons", ()), *errors]


def _distant(args: argparse.Namespace, url: str, timeout: httpx.Timeout | float) -> httpx.Client:
    import httpx  # slow to import

    from controller.store.remotes import tls_files
    from controller.tls import rest_context

    _require_url(url)
    headers = {"Authorization": f"Bearer {_secret(args.token_file)}"} if args.token_file else {}
    verify = rest_context(tls_files(args.tls, CERTIFICATE) if args.tls else None)
    return httpx.Client(base_url=url, headers=headers, verify=verify, timeout=timeout, trust_env=False)


def _require_url(url: str) -> None:
    import httpx

    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL:
        parsed = httpx.URL()
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise CannotRun(f"'{url}' is no address of a controller", "write http://127.0.0.1:8181 or unix:PATH")


def _secret(file: Path) -> str:
    try:
        return file.read_text("ascii").strip()
    except OSError as error:
        why = error.strerror
    except ValueError:
        why = "it is not plain text"
    raise CannotRun(f"cannot read {file}: {why}", "put a token of `rtvnic token add` into it")
