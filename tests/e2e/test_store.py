"""Changes of the channel store with real servers: nothing is lost, nothing doubled."""

from __future__ import annotations

import json
import signal
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.relay import Relay
from support.stores import CLASSES, StoreServer, creating, putting, record
from support.waiting import PATIENCE_S, wait_until

from controller.errors import AnswerIsNo, CannotRun
from controller.store import database
from controller.store.client import Store
from controller.store.records import Change, Snapshot


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


def test_a_change_that_others_hold_up_too_long_is_not_made(store_server: StoreServer) -> None:
    is_under_way, may_go_on = threading.Event(), threading.Event()

    def slow(_: Snapshot) -> Change:
        is_under_way.set()
        may_go_on.wait(PATIENCE_S)
        return Change(put=(record("slow"),))

    with Store(store_server.remote, CLASSES, timeout_s=0.5) as store, ThreadPoolExecutor() as threads:
        first = threads.submit(store.change, slow)
        is_under_way.wait(PATIENCE_S)
        try:
            with pytest.raises(CannotRun, match=r"was busy with other changes for 0.5 s; try again in a moment"):
                store.change(creating("late"))
        finally:
            may_go_on.set()
        first.result()
        assert set(store.read().records) == {"slow"}


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


def test_two_channels_with_one_label_are_refused(store: Store) -> None:
    one, two = record("one"), record("two")
    with pytest.raises(CannotRun, match=r"refuses the change: .*constraint violation"):
        store.change(putting(one, replace(two, channel=replace(two.channel, label=one.channel.label))))
    assert store.read().records == {}
