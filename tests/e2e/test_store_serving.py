"""Programs that serve a channel store: its file, the verb, its keeper, a cluster with TLS."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from support.networks import two_hypervisors
from support.stores import CLASSES, creating, running
from support.waiting import PATIENCE_S, Mailbox, wait_until

from controller.domain.events import ChannelsTold
from controller.errors import CannotRun
from controller.model import Channel, Network, Protocol, SwitchKind
from controller.store import database, server
from controller.store.client import Store, Watch
from controller.store.keeper import StoreKeeper
from controller.store.link import StoreLink
from controller.store.records import ChannelsRead, Owner, StoreBack, StoreGone
from controller.store.remotes import Remote, tls_files

ROOT = Path(__file__).parents[2]
REMOTES = [f"ssl:127.0.0.1:{port}" for port in (16641, 16642, 16643)]
RAFT = [f"ssl:127.0.0.1:{port}" for port in (16651, 16652, 16653)]
QUIET_S = 0.3
"""Long enough for what should not happen to happen."""


def test_an_older_file_is_converted_and_kept(tmp_path: Path) -> None:
    schema = json.loads(database.SCHEMA.read_text())
    del schema["tables"]["Domain"]
    schema["version"] = "0.9.0"
    (tmp_path / "old.ovsschema").write_text(json.dumps(schema))
    subprocess.run(["ovsdb-tool", "create", tmp_path / "store.db", tmp_path / "old.ovsschema"], check=True)
    with running(tmp_path) as store_server, Store(store_server.remote, CLASSES) as store:
        store.change(creating("video"))
        assert store.domains() == {}
    assert (tmp_path / "store.db.0.9.0").exists()


def test_a_later_schema_is_left_as_it_is(tmp_path: Path) -> None:
    schema = json.loads(database.SCHEMA.read_text())
    schema["tables"]["Channel"]["columns"]["more"] = {"type": "string"}
    schema["version"] = "1.1.0"
    (tmp_path / "new.ovsschema").write_text(json.dumps(schema))
    subprocess.run(["ovsdb-tool", "create", tmp_path / "store.db", tmp_path / "new.ovsschema"], check=True)
    with running(tmp_path) as store_server, Store(store_server.remote, CLASSES) as store:
        store.change(creating("video"))
    assert subprocess.check_output(["ovsdb-tool", "db-version", tmp_path / "store.db"], text=True).strip() == "1.1.0"


def test_a_file_of_something_else(tmp_path: Path) -> None:
    (tmp_path / "store.db").write_text("no database")
    with pytest.raises(CannotRun, match="unexpected file format; give another --file"):
        server.prepare(tmp_path / "store.db")


@pytest.fixture
def verb(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts `rtvnic store` with its file and socket in `tmp_path`, and ends it after the test."""
    started = []

    def start(*words: str) -> subprocess.Popen[str]:
        files = ["--file", str(tmp_path / "store.db"), "--listen", f"unix:{tmp_path}/store.sock"]
        command = [sys.executable, "-m", "rtvnic", "store", *files, *words]
        started.append(subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_the_verb_serves_until_a_signal(tmp_path: Path, verb: Callable[..., subprocess.Popen[str]]) -> None:
    process = verb()
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    with Store(f"unix:{tmp_path}/store.sock", CLASSES) as store:
        store.change(creating("video"))
    process.terminate()
    assert process.wait(PATIENCE_S) == 0
    assert not (tmp_path / "store.sock").exists()


def test_the_server_ends_with_the_verb(tmp_path: Path, verb: Callable[..., subprocess.Popen[str]]) -> None:
    process = verb()
    assert process.stdout is not None
    process.stdout.readline()
    process.kill()
    wait_until(lambda: not server.answers(Remote("unix", f"{tmp_path}/store.sock")))


def test_the_verb_says_why_it_cannot(tmp_path: Path, verb: Callable[..., subprocess.Popen[str]]) -> None:
    (tmp_path / "store.db").write_text("no database")
    process = verb()
    _, complaint = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 2
    assert "unexpected file format; give another --file" in complaint and "Traceback" not in complaint


def test_one_of_two_keepers_keeps_the_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    remote = Remote("unix", f"{tmp_path}/store.sock")
    words = ["--file", str(tmp_path / "store.db"), "--listen", str(remote)]
    keepers = [StoreKeeper(tmp_path, words) for _ in range(2)]
    for keeper in keepers:
        keeper.start()
    wait_until(lambda: server.answers(remote))
    holder, other = sorted(keepers, key=lambda keeper: keeper.pid is None)
    assert other.pid is None
    assert holder.pid is not None
    former_pid = holder.pid
    os.kill(former_pid, signal.SIGKILL)
    wait_until(lambda: holder.pid != former_pid and server.answers(remote))
    holder.stop()
    wait_until(lambda: other.pid is not None and server.answers(remote))
    other.stop()
    assert not server.answers(remote)
    assert not (tmp_path / "store.lock").exists()


def test_a_keeper_takes_over_from_a_process_that_was_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    remote = Remote("unix", f"{tmp_path}/store.sock")
    words = ["--file", str(tmp_path / "store.db"), "--listen", str(remote)]
    program = f"""
import pathlib, time
from controller.store.keeper import StoreKeeper
StoreKeeper(pathlib.Path({str(tmp_path)!r}), {words!r}).start()
time.sleep({PATIENCE_S})
"""
    former = subprocess.Popen([sys.executable, "-c", program])
    try:
        wait_until(lambda: server.answers(remote))
        keeper = StoreKeeper(tmp_path, words)
        keeper.start()
        time.sleep(QUIET_S)
        assert keeper.pid is None
    finally:
        former.kill()
        former.wait()
    wait_until(lambda: keeper.pid is not None and server.answers(remote))
    keeper.stop()


@pytest.fixture
def tls_cluster(tmp_path: Path) -> Iterator[list[subprocess.Popen[str]]]:
    """Three members started by the verb, with certificates in `tmp_path`; the remotes are REMOTES."""
    make_certificates(tmp_path)
    started: list[subprocess.Popen[str]] = []
    try:
        for number, (remote, raft) in enumerate(zip(REMOTES, RAFT, strict=True)):
            words = ["--cluster", raft, *(["--join", RAFT[0]] if number else [])]
            started.append(tls_member(tmp_path, f"{number}.db", remote, *words))
        yield started
    finally:
        for process in started:
            ended(process)


def tls_member(directory: Path, file: str, remote: str, *words: str) -> subprocess.Popen[str]:
    """The verb with certificates and its file in `directory`, once it answers at `remote`."""
    files = ["--file", str(directory / file), "--listen", remote, "--tls", str(directory)]
    command = [sys.executable, "-m", "rtvnic", "store", *files, *words]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    return process


def ended(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


def test_controllers_of_two_machines_share_one_store_with_tls(tmp_path: Path) -> None:
    """A member of no cluster. What one has it take the other is told, and both get over its restart."""
    make_certificates(tmp_path)
    network, new = network_by_port()
    mailboxes = {domain: Mailbox() for domain in ("left", "right")}
    process = tls_member(tmp_path, "store.db", REMOTES[0])
    try:
        links = {
            domain: StoreLink(network, domain, REMOTES[0], box.post, tls_files(tmp_path, f"controller-{domain}"))
            for domain, box in mailboxes.items()
        }
        for domain, link in links.items():
            link.start()
            assert set(mailboxes[domain].next_of(ChannelsTold).channels) == {"audio", "video"}
        links["left"].change(links["left"].clerk.put(new, Owner.REST))
        told = [box.next_of(ChannelsTold) for box in mailboxes.values()]
        assert set(told[0].channels) == {"audio", "new", "video"} and told[0] == told[1]
        ended(process)
        for box in mailboxes.values():
            box.next_of(StoreGone)
        process = tls_member(tmp_path, "store.db", REMOTES[0])
        for box in mailboxes.values():
            box.next_of(StoreBack)
        links["right"].change(links["right"].clerk.remove("new", Owner.REST))
        for box in mailboxes.values():
            while set(box.next_of(ChannelsTold).channels) != {"audio", "video"}:
                pass
    finally:
        ended(process)
        for box in mailboxes.values():
            box.close()


def network_by_port() -> tuple[Network, Channel]:
    """A network whose channels differ by their ports, and one more."""
    base = two_hypervisors(kind=SwitchKind.PLAIN)
    udp = {
        name: replace(each, protocol=Protocol.UDP, dst_port=port)
        for port, (name, each) in enumerate(base.channels.items(), start=1)
    }
    return replace(base, channels=udp), replace(udp["video"], name="new", dst_port=7000)


def test_a_cluster_with_tls_survives_its_leader(tmp_path: Path, tls_cluster: list[subprocess.Popen[str]]) -> None:
    mailbox = Mailbox()
    tls = tls_files(tmp_path, "controller-left")
    watch = Watch(",".join(REMOTES), "left", CLASSES, mailbox.post, tls)
    with Store(",".join(REMOTES), CLASSES, tls) as store:
        watch.start()
        store.change(creating("video"))
        tls_cluster[0].kill()
        assert set(store.change(creating("audio")).records) == {"audio", "video"}
        while set(mailbox.next_of(ChannelsRead).snapshot.records) != {"audio", "video"}:
            pass
        watch.stop()


def test_who_is_not_of_the_ca_is_refused(tmp_path: Path, tls_cluster: list[subprocess.Popen[str]]) -> None:
    stranger = tmp_path / "stranger"
    stranger.mkdir()
    make_certificates(stranger)
    own = tls_files(tmp_path, "controller-left")
    tls = replace(tls_files(stranger, "controller-left"), authority=own.authority)
    with pytest.raises(CannotRun, match=r"did not answer within 2 s; is it running\?.* or a certificate does not fit"):
        Store(",".join(REMOTES), CLASSES, tls, timeout_s=2.0).read()
    with Store(",".join(REMOTES), CLASSES, own) as store:
        assert store.read().records == {}


def make_certificates(directory: Path) -> None:
    words = [sys.executable, "-m", "rtvnic", "pki", "topologies/two_hypervisors.yaml", "--into", str(directory)]
    subprocess.run(words, check=True, capture_output=True, cwd=ROOT)


def test_a_store_whose_parent_has_ended_before_it_began_does_not_begin(tmp_path: Path) -> None:
    parent = subprocess.Popen(["true"])
    parent.wait()
    words = [
        "--file",
        f"{tmp_path}/store.db",
        "--listen",
        f"unix:{tmp_path}/store.sock",
        "--die-with-parent",
        str(parent.pid),
    ]
    done = subprocess.run(
        [sys.executable, "-m", "rtvnic", "store", *words], cwd=ROOT, capture_output=True, timeout=PATIENCE_S
    )
    assert (done.returncode, done.stdout) == (0, b"")
    assert not (tmp_path / "store.db").exists()
