"""`rtvnic channel`: adds, changes and removes a channel of a running network, over the REST API of any controller."""

from __future__ import annotations

import argparse
import json
import time
from typing import TYPE_CHECKING
from urllib.parse import quote

from controller import runtime
from controller.errors import AnswerIsNo, CannotRun
from rtvnic.connection import CURE, UNIX, Json, ask, connection_arguments, reach, said, stranger, why_silent
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
    at = _answering(args.at)
    is_awaited = args.action != "remove" and not args.no_wait
    with reach(args, at, TIMEOUT_S) as client:
        own_url = _own_url(client, at) if is_awaited else ""
        method, path, options = _request(args)
        told = _outcome(args, at, ask(client, at, method, path, **options))
    if is_awaited:
        talkers_url = told["url"].removesuffix(_path(args.name))
        told |= {"state": _await(args, at if talkers_url == own_url else talkers_url, told["version"])}
    print(json.dumps(told, indent=2) if args.json else _text(args.action, told))
    return 0


def _outcome(args: argparse.Namespace, at: str, answer: httpx.Response) -> Json:
    """What became of the channel, as `answer` has it. Raises CannotRun."""
    if args.action != "remove":
        return said(answer, at, lambda told: _with(told, "name", "version", "url"))
    if answer.content:
        raise stranger(answer, at)
    return {"name": args.name}


def _with(told: Json, *keys: str) -> Json:
    """`told`, which has these `keys`. Raises LookupError."""
    if not told.keys() >= set(keys):
        raise LookupError
    return told


def _request(args: argparse.Namespace) -> tuple[str, str, Json]:
    """Method, path, and options for httpx."""
    if args.action == "add":
        return "POST", "/v1/channels", {"json": {"name": args.name} | _contract(args)}
    path, headers = _path(args.name), {}
    if args.if_version is not None:
        headers["If-Match"] = f'"{args.if_version}"'
    if args.action == "remove":
        return "DELETE", path, {"headers": headers}
    patch = _contract(args) | dict.fromkeys(args.defaults)
    return "PATCH", path, {"headers": headers, "json": patch}


def _contract(args: argparse.Namespace) -> Json:
    given = {key: text for key in args.keys if (text := getattr(args, key)) is not None}
    return {key: int(text) if key in NUMBERS and text.isdecimal() else text for key, text in given.items()}


def _path(name: str) -> str:
    return f"/v1/channels/{quote(name, safe='')}"


def _answering(at: str | None) -> str:
    """`at`, else the first Unix socket of this machine where a controller answers. Raises CannotRun."""
    if at is not None:
        return at
    for path in sorted(runtime.RUN_DIR.glob(f"*{runtime.REST_SOCKET_SUFFIX}")):
        if not why_silent(path):
            return f"{UNIX}{path}"
    raise CannotRun(f"no controller answers at {runtime.RUN_DIR}", CURE)


def _own_url(client: httpx.Client, at: str) -> str:
    """The address that the topology file gives to the controller at `at`, which `client` is for."""

    def found(topology: Json) -> str:
        urls: dict[str, str] = {each["name"]: each["rest_url"] for each in topology["hypervisors"]}
        return urls[topology["domain"]]

    return said(ask(client, at, "GET", "/v1/topology"), at, found)


def _await(args: argparse.Namespace, at: str, version: int) -> str:
    """The state of the channel once it is installed, as its talker's controller at `at` says.

    Raises AnswerIsNo if it does not get so, and CannotRun if that controller cannot be asked.
    """
    _require_options(args, at)
    progress = Progress(1)
    progress.step(f"waiting until {args.name} is installed")
    end_s = time.monotonic() + WAIT_S
    with reach(args, at, TIMEOUT_S) as client:
        while True:
            state, why = _standing(client, at, args.name, version)
            if state in DONE:
                progress.end()
                return state
            if time.monotonic() > end_s:
                progress.end()
                raise AnswerIsNo(f"channel '{args.name}' is accepted, but {state}: {why}")
            progress.note(f"{state}: {why}")
            time.sleep(POLL_S)


def _require_options(args: argparse.Namespace, at: str) -> None:
    options = {"--tls DIR": args.tls, "--token-file FILE": args.token_file}
    missing = [option for option, value in options.items() if value is None]
    if at.startswith("https:") and missing:
        raise CannotRun(
            f"channel '{args.name}' is accepted; its talker's controller at {at} says whether it is installed",
            f"give {' and '.join(missing)} to ask it, or --no-wait",
        )


def _standing(client: httpx.Client, at: str, name: str, version: int) -> tuple[str, str]:
    """How the channel stands, and why. What a controller says of an earlier version does not count."""
    try:
        answer = ask(client, at, "GET", _path(name))
        told = said(answer, at, lambda told: _with(told, "version", "state", "why"))
    except (AnswerIsNo, CannotRun) as error:
        return "waiting", str(error)
    if told["version"] < version:
        return "waiting", "its talker's controller has not heard of the change yet"
    return told["state"], told["why"]


def _text(action: str, told: Json) -> str:
    done = {"add": "added", "change": "changed", "remove": "removed"}[action]
    version = f", version {told['version']}" if "version" in told else ""
    return f"channel '{told['name']}' is {done}{version}" + (f", {told['state']}" if "state" in told else "")
