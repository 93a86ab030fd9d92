"""`rtvnic store`: the channel store of a machine, or a member of a cluster, until a signal."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from controller.errors import CannotRun
from controller.runtime import STATE_DIR, STORE_SOCKET
from rtvnic.connection import CERTIFICATE

if TYPE_CHECKING:
    from controller.store.remotes import Remote

EPILOG = """\
Without options: a database for the controllers of this machine, in a file of its own, at a Unix socket. For two
machines, on one of them:

  rtvnic store --tls DIR --listen ssl:10.0.0.1:6641

For more, one member on each of three:

  rtvnic store --tls DIR --listen ssl:10.0.0.1:6641 --cluster ssl:10.0.0.1:6642                               # first
  rtvnic store --tls DIR --listen ssl:10.0.0.2:6641 --cluster ssl:10.0.0.2:6642 --join ssl:10.0.0.1:6642      # others

DIR has ca-cert.pem, store-cert.pem and store-key.pem, as `rtvnic pki` makes them. Once the file is made, it knows its
cluster: the same command starts the member again.

Prints `ready` when it answers. Exit code: 0 when stopped by SIGINT or SIGTERM, 2 when it could not run.
"""

READY_TIMEOUT_S = 30.0
POLL_S = 0.02


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = EPILOG
    add = parser.add_argument
    add("--file", type=Path, default=STATE_DIR / "store.db", metavar="DB", help="(default: %(default)s)")
    add("--listen", default=f"unix:{STORE_SOCKET}", metavar="ADDRESS",
        help="unix:PATH, ssl:IP:PORT, or tcp:IP:PORT on this machine (default: %(default)s)")  # fmt: skip
    add("--tls", type=Path, metavar="DIR", help="the directory of the certificates, for ssl")
    add("--cluster", metavar="LOCAL", help="be a member of a cluster, reached by the others at this address")
    add("--join", metavar="REMOTE,...", help="members of the cluster to join; without it the cluster begins here")
    add("--die-with-parent", type=int, metavar="PID", help="stop when this process, its parent, ends")


def run(args: argparse.Namespace) -> int:
    """Make the file if need be, and serve it."""
    from controller import notify
    from controller.store import remotes, server
    from dataplane.shim import die_with_parent

    signal.pthread_sigmask(signal.SIG_SETMASK, ())  # a controller that starts it has blocked those that are to end it
    if args.die_with_parent and not die_with_parent(args.die_with_parent):
        return 0
    tls = remotes.tls_files(args.tls, CERTIFICATE) if args.tls else None
    listen = _one(remotes.parse(args.listen, tls))
    membership = None
    if args.cluster:
        join = remotes.parse(args.join, tls) if args.join else ()
        membership = server.Membership(_one(remotes.parse(args.cluster, tls)), join)
    elif args.join:
        raise CannotRun("--join is for members of a cluster", "say where this one is reached: --cluster LOCAL")
    os.umask(0o077)
    server.prepare(args.file.absolute(), membership)
    if listen.kind == "unix":
        _make_directory(Path(listen.place).parent)

    def be_ready() -> None:
        server.convert_cluster(listen, tls)
        print("ready", flush=True)
        notify.tell(notify.READY)
        notify.keep_alive(lambda: server.answers(listen, tls))

    return _serve(server.command(args.file.absolute(), listen, tls), lambda: server.answers(listen, tls), be_ready)


def _one(found: Sequence[Remote]) -> Remote:
    if len(found) != 1:
        raise CannotRun(f"'{','.join(map(str, found))}' is more than one address", "give the one of this server")
    return found[0]


def _make_directory(directory: Path) -> None:
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise CannotRun(f"cannot make {directory}: {error.strerror}", "run it as root, or give --listen") from None


def _serve(words: Sequence[str], is_answering: Callable[[], bool], on_ready: Callable[[], None]) -> int:
    """Run the server until a signal. Raises CannotRun if it ends by itself, or does not answer in time."""
    signals: list[int] = []
    process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)

    def end(number: int, _: FrameType | None) -> None:
        signals.append(number)
        process.terminate()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)
    try:
        _await_answer(process, is_answering)
        if process.poll() is None:
            on_ready()
        code = process.wait()
    finally:
        process.terminate()
        process.wait()
    if not signals:
        raise CannotRun(f"ovsdb-server ended by itself (exit code {code})", "its last message, above, says why")
    return 0


def _await_answer(process: subprocess.Popen[bytes], is_answering: Callable[[], bool]) -> None:
    """Return when the server answers, or has ended."""
    end_s = time.monotonic() + READY_TIMEOUT_S
    while process.poll() is None and not is_answering():
        if time.monotonic() > end_s:
            raise CannotRun(f"ovsdb-server did not answer within {READY_TIMEOUT_S:g} s", "its messages are above")
        time.sleep(POLL_S)
