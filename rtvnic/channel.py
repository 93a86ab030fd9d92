"""`rtvnic channel`: adds, changes and removes a channel of a running network, over the REST API of any controller."""

from __future__ import annotations

import argparse
import json
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from controller import runtime
from controller.errors import AnswerIsNo, CannotRun
from rtvnic.connection import CURE, UNIX, connection_arguments, reach, why_silent
from rtvnic.progress import Progress

if TYPE_CHECKING:
    import httpx

EPILOG = """\
  rtvnic channel add video --from camera --to screen --deadline 5ms --min-rate 2Mbps
  rtvnic channel change video --deadline 4ms --default burst
  rtvnic channel remove video

Values are written as in a topology file. What a change does not mention stays. Any controller takes changes for all.

Exit code: 0, 1 if the change is refused or the channel does not get installed, 2 if no controller answers.
"""
TIMEOUT_S = 15.0
WAIT_S = 30.0
POLL_S = 0.2
LISTS = ("on_miss",)
NUMBERS = ("src_port", "dst_port", "ip_version")
DONE = ("installed", "degraded", "off")

Json = dict[str, Any]


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = EPILOG
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    add = actions.add_parser("add", help="add a channel")
    change = actions.add_parser("change", help="change what is mentioned, and nothing else")
    remove = actions.add_parser("remove", help="remove a channel")
    for each in (add, change, remove):
        each.add_argument("name", metavar="NAME", help="the channel")
        _connection_arguments(each)
    for each in (add, change):
        _contract_arguments(each, is_new=each is add)
        each.add_argument("--no-wait", action="store_true", help="do not wait until it is installed")
    for each in (change, remove):
        each.add_argument("--if-version", type=int, metavar="N", help="only if this still is its version")


def _connection_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--at", metavar="URL|unix:PATH",
        help="a controller (default: the Unix socket of the first one of this machine)")  # fmt: skip
    connection_arguments(parser)
    parser.add_argument("--json", action="store_true", help="print what the REST API says")


def _contract_arguments(parser: argparse.ArgumentParser, is_new: bool) -> None:
    """An option for each key of a channel in a topology file."""
    from controller.topology_file.schema import channel_schema

    schema = channel_schema()
    for key, value in schema["properties"].items():
        is_required = is_new and key in schema["required"]
        parser.add_argument(_option(key), dest=key, required=is_required, metavar="VALUE",
            action="append" if key in LISTS else "store",
            help=value["description"].replace("%", "%%") + (" Again: one more." if key in LISTS else ""))  # fmt: skip
    if not is_new:
        optional = [key for key in schema["properties"] if key not in schema["required"]]
        parser.add_argument("--default", dest="defaults", action="append", default=[], choices=optional, metavar="KEY",
            help="put a key back to its default: " + ", ".join(optional))  # fmt: skip
    parser.set_defaults(keys=tuple(schema["properties"]))


def _option(key: str) -> str:
    return "--" + key.replace("_", "-")


def run(args: argparse.Namespace) -> int:
    with reach(args, _answering(args.at), TIMEOUT_S) as client:
        answer = _ask(client, *_request(args))
        told = _outcome(args, answer)
        if args.action != "remove" and not args.no_wait:
            told |= {"state": _await(args, told["url"], told["version"])}
    print(json.dumps(told, indent=2) if args.json else _text(args.action, told))
    return 0


def _outcome(args: argparse.Namespace, answer: httpx.Response) -> Json:
    """What became of the channel, as `answer` has it. Raises CannotRun."""
    if args.action != "remove":
        return _said(answer, "name", "version", "url")
    if answer.content:
        raise _stranger(answer)
    return {"name": args.name}


def _request(args: argparse.Namespace) -> tuple[str, str, Json]:
    """Method, path, and options for httpx."""
    if args.action == "add":
        return "POST", "/v1/channels", {"json": {"name": args.name} | _contract(args)}
    path, headers = f"/v1/channels/{_quoted(args.name)}", {}
    if args.if_version is not None:
        headers["If-Match"] = f'"{args.if_version}"'
    if args.action == "remove":
        return "DELETE", path, {"headers": headers}
    patch = _contract(args) | dict.fromkeys(args.defaults)
    return "PATCH", path, {"headers": headers, "json": patch}


def _contract(args: argparse.Namespace) -> Json:
    given = {key: text for key in args.keys if (text := getattr(args, key)) is not None}
    return {key: int(text) if key in NUMBERS and text.isdecimal() else text for key, text in given.items()}


def _quoted(name: str) -> str:
    from urllib.parse import quote

    return quote(name, safe="")


def _answering(at: str | None) -> str:
    """`at`, else the first Unix socket of this machine where a controller answers. Raises CannotRun."""
    if at is not None:
        return at
    for path in sorted(runtime.RUN_DIR.glob(f"*{runtime.REST_SOCKET_SUFFIX}")):
        if not why_silent(path):
            return f"{UNIX}{path}"
    raise CannotRun(f"no controller answers at {runtime.RUN_DIR}", CURE)


def _ask(client: httpx.Client, method: str, path: str, options: Json) -> httpx.Response:
    """The answer, if it is that of a controller, and no refusal. Raises AnswerIsNo, CannotRun."""
    import httpx

    try:
        answer = client.request(method, path, **options)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise CannotRun(f"no controller answers: {error}", CURE) from None
    if answer.is_success:
        return answer
    try:
        problem = answer.json()
        lines = [*problem.get("reasons", ()), *_lines(problem.get("errors", ()))] or [problem["detail"]]
    except (ValueError, LookupError, TypeError, AttributeError):
        raise _stranger(answer) from None
    if answer.status_code >= httpx.codes.INTERNAL_SERVER_ERROR:
        raise CannotRun(f"the controller cannot do it: {problem['detail']}", "nothing is known to have changed")
    raise AnswerIsNo("\n".join(lines))


def _said(answer: httpx.Response, *keys: str) -> Json:
    """The object with these `keys` that a controller answers. Raises CannotRun."""
    with suppress(ValueError):
        said = answer.json()
        if isinstance(said, dict) and said.keys() >= set(keys):
            return said
    raise _stranger(answer)


def _stranger(answer: httpx.Response) -> CannotRun:
    return CannotRun(f"what answers is no controller, or a busy one ({answer.status_code})", CURE)


def _lines(errors: list[Json]) -> list[str]:
    return [f"{each['key']}: {each['message']}" if each["key"] else each["message"] for each in errors]


def _await(args: argparse.Namespace, url: str, version: int) -> str:
    """The state of the channel at `url` once it is installed. Raises AnswerIsNo if it does not get so."""
    progress = Progress(1)
    progress.step(f"waiting until {args.name} is installed")
    end_s = time.monotonic() + WAIT_S
    with reach(args, url, TIMEOUT_S) as client:
        while True:
            state, why = _standing(client, url, version)
            if state in DONE:
                progress.end()
                return state
            if time.monotonic() > end_s:
                progress.end()
                raise AnswerIsNo(f"channel '{args.name}' is accepted, but {state}: {why}")
            progress.note(f"{state}: {why}")
            time.sleep(POLL_S)


def _standing(client: httpx.Client, url: str, version: int) -> tuple[str, str]:
    """How the channel stands, and why. What a controller says of an earlier version does not count."""
    try:
        told = _said(_ask(client, "GET", url, {}), "version", "state", "why")
    except (AnswerIsNo, CannotRun) as error:
        return "waiting", str(error)
    if told["version"] < version:
        return "waiting", "its talker's controller has not heard of the change yet"
    return told["state"], told["why"]


def _text(action: str, told: Json) -> str:
    done = {"add": "added", "change": "changed", "remove": "removed"}[action]
    version = f", version {told['version']}" if "version" in told else ""
    return f"channel '{told['name']}' is {done}{version}" + (f", {told['state']}" if "state" in told else "")
