"""The store's server: makes and converts the database file, and says what command serves it.

Guarantee: a file that is there is never made anew, and before a conversion it is copied (`store.db.1.0.0`). The server
is Open vSwitch's `ovsdb-server`, alone or a member of a cluster. Any thread; blocks for up to some seconds.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from controller.errors import CannotRun
from controller.model import TlsFiles
from controller.store.database import DATABASE, SCHEMA
from controller.store.remotes import Remote

INSTALL = "apt-get install openvswitch-switch"
TOOL_TIMEOUT_S = 30
ANSWER_TIMEOUT_S = 2


@dataclass(frozen=True)
class Membership:
    """In a cluster: the address at which the other members reach this one, and those of members that it joins.

    Without `join` the cluster begins with this member.
    """

    local: Remote
    join: Sequence[Remote] = ()


def prepare(file: Path, membership: Membership | None = None) -> None:
    """Have the database in `file`, of our schema or of a later one. Raises CannotRun.

    `membership` counts when the file is made; afterwards the file knows it.
    """
    if file.exists():
        _check(file, membership)
        return
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise CannotRun(f"cannot make {file.parent}: {error.strerror}", "run it as root, or give --file DB") from None
    if membership is None:
        _tool("create", file, SCHEMA)
    elif membership.join:
        _tool("join-cluster", file, DATABASE, membership.local, *membership.join)
    else:
        _tool("create-cluster", file, SCHEMA, membership.local)


def command(file: Path, listen: Remote, tls: TlsFiles | None = None) -> list[str]:
    """What serves `file` at `listen`, in the foreground, until SIGTERM or the end of the process that started it.

    `ovs-appctl -t FILE.ctl` reaches it, with the path of the file.
    """
    words = ["setpriv", "--pdeathsig", "TERM", "ovsdb-server", str(file), f"--remote={listen.listening}"]
    return [
        *words,
        f"--unixctl={file}.ctl",
        "--verbose=console:warn",
        "--verbose=fatal_signal:console:err",
        *_files(tls),
    ]


def answers(remote: Remote, tls: TlsFiles | None = None) -> bool:
    """Whether a server of a store does."""
    done = _client(remote, tls, "list-dbs", str(remote))
    return done.returncode == 0 and DATABASE in done.stdout.split()


def convert_cluster(remote: Remote, tls: TlsFiles | None = None) -> bool:
    """Have the cluster at `remote` take our schema if that is newer than its own. Whether it was. Raises CannotRun."""
    version = _client(remote, tls, "get-schema-version", str(remote), DATABASE).stdout.strip()
    if not version or not _is_older(version):
        return False
    done = _client(remote, tls, "convert", str(remote), str(SCHEMA))
    if done.returncode:
        raise CannotRun(f"the store at {remote} does not take the new schema: {_last(done.stderr)}", "see its log")
    return True


def _check(file: Path, membership: Membership | None) -> None:
    """Raises CannotRun if `file` is none of ours."""
    is_clustered = _run("ovsdb-tool", "db-is-clustered", str(file)).returncode == 0
    if membership is not None and not is_clustered:
        raise CannotRun(f"{file} is a database that stands alone", "give another --file, or leave --cluster away")
    if (name := _tool("db-name", file)) != DATABASE:
        raise CannotRun(f"{file} is a database '{name}', not a store", "give another --file")
    if not is_clustered and _is_older(version := _tool("db-version", file)):
        shutil.copy2(file, f"{file}.{version}")
        _tool("convert", file, SCHEMA)


def _is_older(version: str) -> bool:
    own = json.loads(SCHEMA.read_text())["version"]
    return tuple(map(int, version.split("."))) < tuple(map(int, own.split(".")))


def _files(tls: TlsFiles | None) -> list[str]:
    if tls is None:
        return []
    return [f"--private-key={tls.key}", f"--certificate={tls.certificate}", f"--ca-cert={tls.authority}"]


def _tool(*words: object) -> str:
    """What `ovsdb-tool` prints. Raises CannotRun with its complaint."""
    done = _run("ovsdb-tool", *map(str, words))
    if done.returncode:
        raise CannotRun(_last(done.stderr), "give another --file, or repair this one")
    return done.stdout.strip()


def _client(remote: Remote, tls: TlsFiles | None, *words: str) -> subprocess.CompletedProcess[str]:
    files = _files(tls) if remote.kind == "ssl" else []
    return _run("ovsdb-client", f"--timeout={ANSWER_TIMEOUT_S}", *files, *words)


def _run(*words: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(words, capture_output=True, text=True, timeout=TOOL_TIMEOUT_S, check=False)
    except FileNotFoundError:
        raise CannotRun(f"{words[0]} is not installed", INSTALL) from None
    except subprocess.TimeoutExpired:
        raise CannotRun(f"{words[0]} did not answer within {TOOL_TIMEOUT_S} s", "try again") from None


def _last(complaint: str) -> str:
    lines = complaint.strip().splitlines()
    return lines[-1] if lines else "ovsdb-server's tools failed without a message"
