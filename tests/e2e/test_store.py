"""The channel store with real servers: nothing is lost, nothing doubled, and each domain hears of its own only."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.stores import CLASSES, StoreServer, creating, putting, record, running
from support.waiting import PATIENCE_S, Mailbox, wait_until

from controller.domain.reports import Role
from controller.errors import AnswerIsNo, CannotRun
from controller.store import database, server
from controller.store.client import Store, Watch
from controller.store.keeper import StoreKeeper
from controller.store.records import Change, ChannelsRead, EndStanding, Snapshot, StoreBack, StoreGone
from controller.store.remotes import Remote, tls_files

ROOT = Path(__file__).parents[2]
REMOTES = [f"ssl:127.0.0.1:{port}" for port in (16641, 16642, 16643)]
RAFT = [f"ssl:127.0.0.1:{port}" for port in (16651, 16652, 16653)]
QUIET_S = 0.3
"""Long enough for what should not happen to happen."""


@pytest.fixture
def store_server(tmp_path: Path) -> Iterator[StoreServer]:
    with running(tmp_path) as found:
        yield found


@pytest.fixture
def store(store_server: StoreServer) -> Iterator[Store]:
    with Store(store_server.remote, CLASSES) as found:
        yield found


@pytest.fixture
def watched(store_server: StoreServer) -> Iterator[tuple[Watch, Mailbox]]:
    """A watch of `left`, and what it posts."""
    mailbox = Mailbox()
    watch = Watch(store_server.remote, "left", CLASSES, mailbox.post)
    watch.start()
    yield watch, mailbox
    watch.stop()


def test_what_is_written_is_read(store: Store, store_server: StoreServer) -> None:
    bounds = {("middle", "right"): {"fast": 1000, "slow": None}}
    after = store.change(lambda _: Change((record("video"),), bounds=bounds, jitter_ns=5, topology="digest"))
    assert after.records["video"] == replace(record("video"), version=1)
    assert (after.revision, after.topology, after.jitter_ns, after.bounds) == (1, "digest", 5, bounds)
    with Store(store_server.remote, CLASSES) as other:
        assert other.read() == after


def test_an_empty_store(store: Store) -> None:
    assert store.read() == Snapshot(0, "", -1, {}, {})


def test_the_same_again_writes_nothing(store: Store) -> None:
    before = store.change(putting(record("video")))
    assert store.change(putting(record("video"))) == before
    assert store.change(lambda _: None) == before


def test_a_change_and_a_removal_raise_the_revision(store: Store) -> None:
    store.change(putting(record("video"), record("audio")))
    changed = store.change(putting(record("video", rate_bps=5)))
    assert (changed.records["video"].version, changed.records["audio"].version) == (2, 1)
    removed = store.change(lambda _: Change(remove=("video",)))
    assert (removed.revision, set(removed.records)) == (3, {"audio"})
    assert store.change(putting(record("video"))).records["video"].version == 4, "no version comes back"


def test_bounds_are_those_of_all_ports(store: Store) -> None:
    store.change(lambda _: Change(bounds={("a", "b"): {"fast": 1}, ("a", "c"): {"fast": 2}}))
    after = store.change(lambda _: Change(bounds={("a", "b"): {"fast": 3}}))
    assert after.bounds == {("a", "b"): {"fast": 3}}


def test_a_refusal_changes_nothing(store: Store) -> None:
    before = store.change(creating("video"))
    with pytest.raises(AnswerIsNo, match="there is a channel 'video'"):
        store.change(creating("video"))
    assert store.read() == before


def test_two_writers_lose_nothing(store: Store, store_server: StoreServer) -> None:
    with Store(store_server.remote, CLASSES) as other, ThreadPoolExecutor() as threads:
        names = [f"c{number}" for number in range(200)]
        for done in [
            threads.submit(_create_all, one, mine) for one, mine in ((store, names[:100]), (other, names[100:]))
        ]:
            done.result()
    after = store.read()
    assert set(after.records) == set(names)
    assert after.revision == 200
    assert len({each.channel.label for each in after.records.values()}) == 200


def _create_all(store: Store, names: list[str]) -> None:
    for name in names:
        store.change(creating(name))


def test_of_two_that_ask_for_the_last_room_one_is_refused(store: Store, store_server: StoreServer) -> None:
    """Both have read the empty store before either writes."""
    both_have_read = threading.Barrier(2)

    def ask(store: Store, name: str) -> bool:
        tries: list[Snapshot] = []

        def decide(before: Snapshot) -> Change:
            tries.append(before)
            if before.records:
                raise AnswerIsNo("no room")
            if len(tries) == 1:
                both_have_read.wait(PATIENCE_S)
            return Change(put=(record(name),))

        try:
            store.change(decide)
        except AnswerIsNo:
            return False
        return True

    with Store(store_server.remote, CLASSES) as other, ThreadPoolExecutor() as threads:
        accepted = [threads.submit(ask, store, "one"), threads.submit(ask, other, "two")]
        assert sorted(each.result() for each in accepted) == [False, True]
    assert len(store.read().records) == 1


def test_the_server_dies_and_comes_back(store: Store, store_server: StoreServer) -> None:
    before = store.change(creating("video"))
    store_server.kill()
    store_server.start()
    assert store.read() == before
    assert set(store.change(creating("audio")).records) == {"audio", "video"}


def test_a_change_whose_acknowledgement_is_lost_is_made_once(store_server: StoreServer, tmp_path: Path) -> None:
    """The connection breaks between the server's commit and its answer."""
    with Relay(tmp_path / "relay.sock", store_server.socket.place) as relay, Store(relay.remote, CLASSES) as store:
        store.change(creating("first"))
        relay.cut_at(b'"transact"')
        after = store.change(creating("video"))
        assert relay.cuts == 1
    assert (after.revision, set(after.records)) == (2, {"first", "video"})


def test_no_server_is_one_message(tmp_path: Path) -> None:
    store = Store(f"unix:{tmp_path}/none.sock", CLASSES, timeout_s=0.2)
    with pytest.raises(CannotRun, match=r"the store at unix:.*none.sock did not answer within 0.2 s; is it running"):
        store.read()


def test_a_server_that_hangs_is_one_message(store_server: StoreServer) -> None:
    with Store(store_server.remote, CLASSES, timeout_s=0.5) as store:
        store.read()
        store_server.signal(signal.SIGSTOP)
        try:
            with pytest.raises(CannotRun, match="whether the change was made is not known"):
                store.change(creating("video"))
            with pytest.raises(CannotRun, match="did not answer within"):
                store.read()
        finally:
            store_server.signal(signal.SIGCONT)
        wait_until(lambda: "video" in store.read().records)


def test_a_row_made_by_hand_is_named(store: Store, store_server: StoreServer) -> None:
    store.change(creating("video"))
    _transact(store_server, {"op": "update", "table": "Channel", "where": [], "row": {"source": "nonsense"}})
    wait_until(lambda: _complaint(store) != "")
    assert "channel 'video' of the store: 'nonsense'" in _complaint(store)


def _complaint(store: Store) -> str:
    try:
        store.read()
    except CannotRun as error:
        return str(error)
    return ""


def _transact(store_server: StoreServer, *operations: dict[str, Any]) -> None:
    words = json.dumps([database.DATABASE, *operations])
    subprocess.run(["ovsdb-client", "transact", store_server.remote, words], check=True, capture_output=True)


def test_a_watch_is_told_of_its_own_channels_only(store: Store, watched: tuple[Watch, Mailbox]) -> None:
    _, mailbox = watched
    assert mailbox.next() == ChannelsRead(Snapshot(0, "", -1, {}, {}))
    store.change(putting(record("mine", ("left",))))
    assert set(mailbox.next().snapshot.records) == {"mine"}
    store.change(putting(record("foreign", ("right",))))
    store.change(putting(record("shared", ("left", "right"))))
    assert set(mailbox.next().snapshot.records) == {"mine", "shared"}
    store.change(lambda _: Change(remove=("mine", "foreign")))
    assert set(mailbox.next().snapshot.records) == {"shared"}
    assert mailbox.is_empty


def test_the_server_sends_a_watch_nothing_of_others(store: Store, store_server: StoreServer, tmp_path: Path) -> None:
    """Seen on the wire: at the first, by an update, and after the server was started again."""
    store.change(putting(record("mine", ("left",)), *(record(f"foreign{n}", ("right",)) for n in range(20))))
    mailbox = Mailbox()
    with Relay(tmp_path / "relay.sock", store_server.socket.place) as relay:
        watch = Watch(relay.remote, "left", CLASSES, mailbox.post)
        watch.start()
        assert set(mailbox.next().snapshot.records) == {"mine"}
        store.change(putting(record("foreign0", ("right",), rate_bps=5), record("foreign20", ("right",))))
        store_server.kill()
        store_server.start()
        store.change(putting(record("mine", ("left",), rate_bps=5)))
        assert mailbox.next_of(ChannelsRead).snapshot.records["mine"].channel.rate_bps == 5
        watch.stop()
    assert b"mine" in relay.seen
    assert b"foreign" not in relay.seen


def test_foreign_changes_cost_a_watch_no_byte(store: Store, store_server: StoreServer, tmp_path: Path) -> None:
    mailbox = Mailbox()
    store.change(putting(record("mine", ("left",))))
    with Relay(tmp_path / "relay.sock", store_server.socket.place) as relay:
        watch = Watch(relay.remote, "left", CLASSES, mailbox.post)
        watch.start()
        mailbox.next()
        time.sleep(QUIET_S)
        before = len(relay.seen)
        for number in range(50):
            store.change(putting(record(f"foreign{number}", ("right",))))
        time.sleep(QUIET_S)
        assert len(relay.seen) == before
        watch.stop()


def test_a_watch_survives_the_server(store: Store, store_server: StoreServer, watched: tuple[Watch, Mailbox]) -> None:
    _, mailbox = watched
    store.change(putting(record("mine")))
    while "mine" not in mailbox.next_of(ChannelsRead).snapshot.records:
        pass
    store_server.kill()
    assert isinstance(gone := mailbox.next(), StoreGone)
    assert gone.why == f"no answer from {store_server.remote}"
    store_server.start()
    assert mailbox.next() == StoreBack()
    time.sleep(QUIET_S)
    assert mailbox.is_empty, "nothing has changed"
    store.change(putting(record("more")))
    assert set(mailbox.next().snapshot.records) == {"mine", "more"}


def test_a_watch_may_come_before_the_server(tmp_path: Path) -> None:
    mailbox = Mailbox()
    store_server = StoreServer(tmp_path)
    watch = Watch(store_server.remote, "left", CLASSES, mailbox.post)
    watch.start()
    assert isinstance(mailbox.next(), StoreGone)
    store_server.start()
    try:
        assert mailbox.next() == StoreBack()
        assert mailbox.next() == ChannelsRead(Snapshot(0, "", -1, {}, {}))
    finally:
        watch.stop()
        store_server.kill()


def test_standings_are_written_back(store: Store, watched: tuple[Watch, Mailbox]) -> None:
    watch, mailbox = watched
    before = store.change(putting(record("video")))
    while "video" not in mailbox.next_of(ChannelsRead).snapshot.records:
        pass
    watch.write_standing("video", Role.TALKER, "installing")
    watch.write_standing("video", Role.TALKER, "waiting", "no switch", version=1)
    watch.write_standing("video", Role.LISTENER, "refused", "of another version", version=7)
    watch.write_standing("gone", Role.LISTENER, "installed")
    wait_until(lambda: store.read().records["video"].talker == EndStanding("waiting", "no switch"))
    time.sleep(QUIET_S)
    after = store.read()
    assert after.records["video"].listener == EndStanding()
    assert after == before, "no change of revision or version"
    assert mailbox.is_empty, "a standing is no news"


def test_a_change_empties_the_standings(store: Store, watched: tuple[Watch, Mailbox]) -> None:
    watch, mailbox = watched
    store.change(putting(record("video"), record("audio")))
    while not mailbox.next_of(ChannelsRead).snapshot.records:
        pass
    for name in ("video", "audio"):
        watch.write_standing(name, Role.TALKER, "installed")
        wait_until(lambda name=name: store.read().records[name].talker.state == "installed")
    after = store.change(putting(record("video", rate_bps=5)))
    assert (after.records["video"].talker.state, after.records["audio"].talker.state) == ("", "installed")


def test_many_standings_are_few_transactions(
    store: Store, store_server: StoreServer, watched: tuple[Watch, Mailbox]
) -> None:
    watch, mailbox = watched
    store.change(putting(record("video")))
    while "video" not in mailbox.next_of(ChannelsRead).snapshot.records:
        pass
    before = _transactions(store_server)
    for number in range(5000):
        watch.write_standing("video", Role.TALKER, "waiting", str(number))
    wait_until(lambda: store.read().records["video"].talker.reason == "4999")
    assert 1 <= _transactions(store_server) - before < 100


def _transactions(store_server: StoreServer) -> int:
    return store_server.file.read_text().count('"Channel"')


def test_standings_wait_for_the_server(store: Store, store_server: StoreServer, watched: tuple[Watch, Mailbox]) -> None:
    watch, mailbox = watched
    store.change(putting(record("video")))
    while "video" not in mailbox.next_of(ChannelsRead).snapshot.records:
        pass
    store_server.kill()
    watch.write_standing("video", Role.LISTENER, "installed")
    store_server.start()
    wait_until(lambda: store.read().records["video"].listener.state == "installed")


def test_a_domain_announces_itself(store: Store, watched: tuple[Watch, Mailbox]) -> None:
    watch, mailbox = watched
    before = store.read()
    watch.announce("http://127.0.0.1:8080", ["right", "other"])
    wait_until(lambda: store.domains() == {"left": ("http://127.0.0.1:8080", ("other", "right"))})
    watch.announce("http://127.0.0.1:8080", ["right"])
    wait_until(lambda: store.domains() == {"left": ("http://127.0.0.1:8080", ("right",))})
    assert store.read() == before
    mailbox.next()


def test_two_channels_with_one_label_are_refused(store: Store) -> None:
    one, two = record("one"), record("two")
    with pytest.raises(CannotRun, match=r"refuses the change: .*constraint violation"):
        store.change(putting(one, replace(two, channel=replace(two.channel, label=one.channel.label))))
    assert store.read().records == {}


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
            words = ["--file", f"{tmp_path}/{number}.db", "--listen", remote, "--tls", str(tmp_path), "--cluster", raft]
            words += ["--join", RAFT[0]] if number else []
            command = [sys.executable, "-m", "rtvnic", "store", *words]
            process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            started.append(process)
            assert process.stdout is not None and process.stdout.readline() == "ready\n"
        yield started
    finally:
        for process in started:
            process.kill()
            process.communicate()


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
    tls = replace(tls_files(stranger, "controller-left"), authority=tls_files(tmp_path, "store").authority)
    with pytest.raises(CannotRun, match="did not answer"):
        Store(",".join(REMOTES), CLASSES, tls, timeout_s=2.0).read()


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


class Relay:
    """Passes on what goes between clients at `path` and the server's socket, and keeps all that the server said.

    After `cut_at` it breaks the connection of the next request with those bytes, once the server has answered it.
    """

    def __init__(self, path: Path, target: str) -> None:
        self.remote = f"unix:{path}"
        self.seen = b""
        self.cuts = 0
        self._target = target
        self._cut_at: bytes | None = None
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._sockets: list[socket.socket] = []

    def __enter__(self) -> Relay:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        for each in (self._listener, *self._sockets):
            _shut(each)
            each.close()

    def cut_at(self, request: bytes) -> None:
        self._cut_at = request

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            upstream = socket.socket(socket.AF_UNIX)
            self._sockets += [client, upstream]
            try:
                upstream.connect(self._target)
            except OSError:
                _shut(client)
                continue
            is_cut = threading.Event()
            threading.Thread(target=self._up, args=(client, upstream, is_cut), daemon=True).start()
            threading.Thread(target=self._down, args=(client, upstream, is_cut), daemon=True).start()

    def _up(self, client: socket.socket, upstream: socket.socket, is_cut: threading.Event) -> None:
        while data := _receive(client):
            if self._cut_at is not None and self._cut_at in data:
                self._cut_at = None
                is_cut.set()
            _send(upstream, data)
        _shut(upstream)

    def _down(self, client: socket.socket, upstream: socket.socket, is_cut: threading.Event) -> None:
        while data := _receive(upstream):
            if is_cut.is_set():
                self.cuts += 1
                break
            self.seen += data
            _send(client, data)
        _shut(client)
        _shut(upstream)


def _receive(connection: socket.socket) -> bytes:
    try:
        return connection.recv(1 << 16)
    except OSError:
        return b""


def _send(connection: socket.socket, data: bytes) -> None:
    try:
        connection.sendall(data)
    except OSError:
        _shut(connection)


def _shut(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
