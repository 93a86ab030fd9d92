"""`rtvnic token`: who may use REST where it is not the Unix socket of a controller's machine."""

from __future__ import annotations

import argparse
import json
import secrets
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from controller.errors import AnswerIsNo, CannotRun
from rtvnic.table import aligned

if TYPE_CHECKING:
    from controller.rest.access import Token

EPILOG = """\
A controller that is started with --tokens FILE takes note of changes by itself. Of a token the file keeps a hash only.

Exit code: 0, 1 if the name is taken, unknown or none, 2 if the file cannot be used.
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = EPILOG
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    add = actions.add_parser("add", help="make a token, and print it once")
    listing = actions.add_parser("list", help="print names and roles")
    remove = actions.add_parser("remove", help="let a token be of no use any more")
    for each in (add, listing, remove):
        each.add_argument("file", metavar="FILE", type=Path, help="the token file")
    for each in (add, remove):
        each.add_argument("name", metavar="NAME", help="whose it is; the log has it beside what is done with it")
    add.add_argument("--role", choices=["read", "write"], default="read", help="(default: %(default)s)")
    listing.add_argument("--json", action="store_true", help="print it as JSON")


def run(args: argparse.Namespace) -> int:
    {"add": _add, "list": _list, "remove": _remove}[args.action](args)
    return 0


def _add(args: argparse.Namespace) -> None:
    from controller.rest.access import NAME_FORM, Token, TokenRole
    from controller.rest.token_file import write_tokens

    tokens = _tokens(args.file) if _is_there(args.file) else {}
    if not NAME_FORM.fullmatch(args.name):
        raise AnswerIsNo(f"'{args.name}' is not a name; write letters, digits, '-', '_' and '.', at most 63")
    if args.name in tokens:
        raise AnswerIsNo(f"{args.file} has a token '{args.name}'; remove it first, or choose another name")
    secret = secrets.token_urlsafe(32)
    write_tokens(args.file, [*tokens.values(), Token.of(TokenRole(args.role), args.name, secret)])
    print("Keep it safe: it cannot be shown again.", file=sys.stderr)
    print(secret)


def _list(args: argparse.Namespace) -> None:
    rows = [(token.name, str(token.role)) for token in _tokens(args.file).values()]
    if args.json:
        print(json.dumps([{"name": name, "role": role} for name, role in rows], indent=2))
    else:
        print(aligned(("name", "role"), rows) if rows else "no tokens")


def _remove(args: argparse.Namespace) -> None:
    from controller.rest.token_file import write_tokens

    tokens = _tokens(args.file)
    if tokens.pop(args.name, None) is None:
        raise AnswerIsNo(f"{args.file} has no token '{args.name}'; rtvnic token list says which there are")
    write_tokens(args.file, tokens.values())


def _is_there(file: Path) -> bool:
    try:
        return file.exists()
    except OSError as error:
        raise CannotRun(f"cannot look at {file}: {error.strerror}", "be a user who may, or root") from None


def _tokens(file: Path) -> dict[str, Token]:
    from controller.rest.token_file import read_tokens

    return {token.name: token for token in read_tokens(file)}
