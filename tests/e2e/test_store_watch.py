"""What a domain hears of the channel store, and writes back: of its own channels only."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.relay import Relay
from support.stores import CLASSES, StoreServer, putting, record
from support.waiting import Mailbox, wait_until

from controller.domain.reports import Role
from controller.store.client import Store, Watch
from controller.store.records import Change, ChannelsRead, EndStanding, Snapshot, StoreBack, StoreGone

QUIET_S = 0.3
"""Long enough for what should not happen to happen."""


@pytest.fixture
def watched(store_server: StoreServer) -> Iterator[tuple[Watch, Mailbox]]:
    """A watch of `left`, and what it posts."""
    mailbox = Mailbox()
    watch = Watch(store_server.remote, "left", CLASSES, mailbox.post)
    watch.start()
    yield watch, mailbox
    watch.stop()


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
