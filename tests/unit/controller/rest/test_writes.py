"""Changes of channels over REST, as a client sees them, and what the store has after each."""

from __future__ import annotations

import json
import threading
from typing import Any

import httpx
import pytest
from support.domains import Driver
from support.examples import example
from support.fake_store import FakeStore, asking

from controller.errors import CannotRun
from controller.model import Channel
from controller.rest.problems import PROBLEM
from controller.rest.writes import WAITING_MAX, Writer
from controller.store.decisions import Decision
from controller.store.records import Owner, Snapshot

NETWORK = example("two_hypervisors")
DRIVER = Driver(NETWORK, "left")
ENTRY = {"name": "new", "from": "camera", "to": "screen", "deadline": "5ms", "min_rate": "1Mbps", "protocol": "udp",
         "dst_port": 7000}  # fmt: skip


@pytest.fixture
def store() -> FakeStore:
    return FakeStore(NETWORK)


def ask(store: FakeStore, method: str, path: str, body: Any = None, **headers: str) -> httpx.Response:
    options = {"headers": {name.replace("_", "-"): value for name, value in headers.items()}}
    return asking(DRIVER, store, NETWORK, [(method, path, options | ({} if body is None else {"json": body}))])[0]


def post(store: FakeStore, **changes: Any) -> httpx.Response:
    return ask(store, "POST", "/v1/channels", ENTRY | changes)


def problem(answer: httpx.Response, status: int) -> dict[str, Any]:
    assert (answer.status_code, answer.headers["content-type"]) == (status, PROBLEM), answer.text
    found: dict[str, Any] = answer.json()
    assert found["status"] == status
    return found


def stored(store: FakeStore, name: str = "new") -> Channel:
    return store.now.records[name].channel


# Add


def test_a_channel_is_added_under_way_until_both_ends_say_that_it_is_installed(store: FakeStore) -> None:
    answer = post(store)
    assert answer.status_code == 202
    assert answer.json() == {
        "name": "new",
        "owner": "rest",
        "version": 2,
        "channel_label": stored(store).label,
        "is_installed": False,
        "url": "http://127.0.0.1:8181/v1/channels/new",
    }
    assert (answer.headers["etag"], answer.headers["location"]) == ('"2"', answer.json()["url"])
    store.stand("new", "installed", "")
    assert post(store).status_code == 202
    store.stand("new", "installed", "installed")
    assert (post(store).status_code, post(store).json()["is_installed"]) == (200, True)


def test_the_same_again_changes_nothing(store: FakeStore) -> None:
    first = post(store)
    after = store.now
    again = post(store, burst="3092B", on_miss=["log", "log"])
    assert (again.json(), store.now) == (first.json(), after)


def test_another_content_under_a_name_is_a_conflict(store: FakeStore) -> None:
    post(store)
    before = store.now
    assert problem(post(store, deadline="6ms"), 409) == {
        "type": "about:blank",
        "title": "Conflict",
        "status": 409,
        "detail": "channel 'new' is there already and differs; change it by PATCH",
        "reasons": [],
    }
    assert store.now == before


def test_only_if_it_is_new(store: FakeStore) -> None:
    assert ask(store, "POST", "/v1/channels", ENTRY, if_none_match="*").status_code == 202
    assert problem(ask(store, "POST", "/v1/channels", ENTRY, if_none_match="*"), 412)["detail"] == (
        "channel 'new' is there already"
    )


def test_a_channel_of_the_file_is_the_files(store: FakeStore) -> None:
    assert problem(post(store, name="video"), 409)["detail"] == (
        "channel 'video' belongs to file; change the topology file and apply it"
    )


def test_packets_that_two_channels_would_take_are_a_conflict(store: FakeStore) -> None:
    post(store)
    assert "channel 'twin': " in problem(post(store, name="twin"), 409)["detail"]


def test_what_the_links_cannot_keep_is_refused_with_all_reasons(store: FakeStore) -> None:
    before = store.now
    found = problem(post(store, min_rate="99Mbps"), 409)
    assert found["detail"] == "the links cannot keep all deadlines with this channel"
    assert found["reasons"]
    assert all(isinstance(each, str) and each for each in found["reasons"])
    assert store.now == before


def test_an_invalid_entry_is_told_key_by_key(store: FakeStore) -> None:
    found = problem(post(store, **{"from": "camra", "deadline": 5}), 422)
    assert found["errors"] == [
        {"key": "deadline", "message": "'5' has no unit; write 5ms or 500us"},
        {"key": "from", "message": "no VM is called 'camra'; did you mean 'camera'?"},
    ]
    assert found["detail"] == (
        "deadline: '5' has no unit; write 5ms or 500us; from: no VM is called 'camra'; did you mean 'camera'?"
    )


@pytest.mark.parametrize("name", ["Bad", "", None, 7, ["a"], "a" * 64])
def test_a_name_that_is_none(store: FakeStore, name: Any) -> None:
    assert [each["key"] for each in problem(post(store, name=name), 422)["errors"]] == ["name"]


def test_a_character_that_is_none_is_shown_as_what_it_is(store: FakeStore) -> None:
    options = {"content": json.dumps(ENTRY | {"name": "\ud800"}), "headers": {"content-type": "application/json"}}
    found = problem(asking(DRIVER, store, NETWORK, [("POST", "/v1/channels", options)])[0], 422)
    assert found["errors"][0]["message"].startswith("'?' is not a name")


@pytest.mark.parametrize("body", [b"{", b"[]", b"5", b"", b"\xff", b'{"\\ud800": 1}', b"[" * 100_000, b"1" * 5000])
def test_a_body_that_is_none(store: FakeStore, body: bytes) -> None:
    options = {"content": body, "headers": {"content-type": "application/json"}}
    answer = asking(DRIVER, store, NETWORK, [("POST", "/v1/channels", options)])[0]
    assert answer.status_code in (400, 422)
    assert answer.headers["content-type"] == PROBLEM


# Change


def test_a_patch_changes_what_it_names(store: FakeStore) -> None:
    post(store, burst="4kB")
    answer = ask(store, "PATCH", "/v1/channels/new", {"deadline": "7ms", "burst": None})
    assert (answer.status_code, answer.headers["etag"]) == (202, '"3"')
    assert (stored(store).deadline_ns, stored(store).burst_bytes, stored(store).dst_port) == (7_000_000, 3092, 7000)
    assert ask(store, "PATCH", "/v1/channels/new", {"deadline": "7ms"}).headers["etag"] == '"3"', "nothing is new"


def test_a_patch_may_have_its_own_media_type(store: FakeStore) -> None:
    post(store)
    options = {"content": b'{"deadline": "7ms"}', "headers": {"content-type": "application/merge-patch+json"}}
    assert asking(DRIVER, store, NETWORK, [("PATCH", "/v1/channels/new", options)])[0].status_code == 202
    assert stored(store).deadline_ns == 7_000_000


def test_a_patch_is_checked_as_a_whole_entry(store: FakeStore) -> None:
    post(store)
    found = problem(ask(store, "PATCH", "/v1/channels/new", {"protocol": None, "deadline": "1"}), 422)
    assert {each["key"] for each in found["errors"]} >= {"deadline"}
    found = problem(ask(store, "PATCH", "/v1/channels/new", {"protocol": None, "name": "other"}), 422)
    assert {each["key"] for each in found["errors"]} == {"name"}
    assert problem(ask(store, "PATCH", "/v1/channels/new", {"protocol": None}), 422)["errors"][0]["key"] == "dst_port"


def test_a_change_that_is_not_admitted_leaves_what_was(store: FakeStore) -> None:
    post(store)
    before = store.now
    assert problem(ask(store, "PATCH", "/v1/channels/new", {"min_rate": "99Mbps"}), 409)["reasons"]
    assert store.now == before


# Remove


def test_a_channel_is_removed(store: FakeStore) -> None:
    post(store)
    answer = ask(store, "DELETE", "/v1/channels/new")
    assert (answer.status_code, answer.content) == (204, b"")
    assert "new" not in store.now.records
    assert problem(ask(store, "DELETE", "/v1/channels/new"), 404)["detail"] == "there is no channel 'new'"
    assert post(store).json()["version"] == 4, "no version comes back"


def test_the_files_channels_stay(store: FakeStore) -> None:
    problem(ask(store, "DELETE", "/v1/channels/video"), 409)
    problem(ask(store, "PATCH", "/v1/channels/video", {"deadline": "9ms"}), 409)
    assert store.now.records["video"].owner is Owner.FILE


# Preconditions, and what may go wrong in any of them


@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
@pytest.mark.parametrize("match", ['"1"', '"3"', 'W/"2"', "2", "", '"x"', '"1", "3"', '"' + "9" * 30 + '"'])
def test_another_version_than_the_askers(store: FakeStore, method: str, match: str) -> None:
    post(store)
    body = {"deadline": "7ms"} if method == "PATCH" else None
    answer = ask(store, method, "/v1/channels/new", body, if_match=match)
    assert problem(answer, 412)["detail"] == "channel 'new' has version 2; read it again, and ask again"
    assert store.now.revision == 2


@pytest.mark.parametrize("match", ['"2"', "*", '"1", "2"'])
def test_the_version_that_the_asker_has_seen(store: FakeStore, match: str) -> None:
    post(store)
    assert ask(store, "PATCH", "/v1/channels/new", {"deadline": "7ms"}, if_match=match).status_code == 202


@pytest.mark.parametrize(("method", "path"), [("POST", ""), ("PATCH", "/new"), ("DELETE", "/new")])
@pytest.mark.parametrize("match", ["*", '"2"', 'W/"2"', '"1", "2"', " * "])
def test_a_channel_that_is_not_to_be_there(store: FakeStore, method: str, path: str, match: str) -> None:
    post(store)
    body = None if method == "DELETE" else ENTRY if method == "POST" else {"deadline": "7ms"}
    answer = ask(store, method, f"/v1/channels{path}", body, if_none_match=match)
    assert problem(answer, 412)["detail"] == "channel 'new' is there already"
    assert store.now.revision == 2
    assert ask(store, method, f"/v1/channels{path}", body, if_none_match='"1"').is_success


@pytest.mark.parametrize("match", ["*", '"1"', ""])
def test_one_that_is_to_be_there_is_not_made(store: FakeStore, match: str) -> None:
    found = problem(ask(store, "POST", "/v1/channels", ENTRY, if_match=match), 412)
    assert found["detail"] == "channel 'new' is not there; read it again, and ask again"
    assert "new" not in store.now.records
    post(store)
    assert ask(store, "POST", "/v1/channels", ENTRY, if_match='"2"').status_code == 202


@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
@pytest.mark.parametrize("name", ["none", "%ff", "a%0ab", "%F0%9F%92%A9", "x" * 500])
def test_a_channel_that_is_not_there(store: FakeStore, method: str, name: str) -> None:
    problem(ask(store, method, f"/v1/channels/{name}", {} if method == "PATCH" else None), 404)


@pytest.mark.parametrize(("method", "path"), [("POST", ""), ("PATCH", "/new"), ("DELETE", "/new")])
def test_a_store_that_does_not_answer(store: FakeStore, method: str, path: str) -> None:
    store.is_away = True
    answer = ask(store, method, f"/v1/channels{path}", None if method == "DELETE" else ENTRY)
    assert problem(answer, 503)["detail"] == "the store does not answer; start it"
    assert answer.headers["retry-after"] == "1"


def test_a_channel_that_somebody_removes_in_the_same_moment(store: FakeStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def change(decision: Decision) -> Snapshot:
        decision(store.now)
        return store.now

    monkeypatch.setattr(store, "change", change)
    assert problem(post(store), 412)["detail"] == "channel 'new' has been removed meanwhile"


def test_only_so_many_wait_for_the_store(store: FakeStore, monkeypatch: pytest.MonkeyPatch) -> None:
    may_go_on, waiting = threading.Event(), threading.Semaphore(0)

    def change(_: Decision) -> Snapshot:
        waiting.release()
        may_go_on.wait(10)
        return store.now

    monkeypatch.setattr(store, "change", change)
    writer = Writer(NETWORK, store)
    threads = [threading.Thread(target=writer.remove, args=("video",)) for _ in range(WAITING_MAX)]
    for thread in threads:
        thread.start()
        waiting.acquire()
    with pytest.raises(CannotRun, match=f"{WAITING_MAX} changes wait for the store already; try again"):
        writer.remove("video")
    may_go_on.set()
    for thread in threads:
        thread.join()
    writer.remove("video")


def test_a_local_channel_and_one_to_a_host_wait_for_their_talkers_end_alone() -> None:
    network = example("plain_host")
    store = FakeStore(network)
    channel = next(each for each in network.channels.values() if each.listener in network.hosts)
    entry = {"name": "new", "from": channel.talker, "to": channel.listener, "deadline": "100ms", "min_rate": "10kbps",
             "protocol": "udp", "dst_port": 7001}  # fmt: skip
    request = ("POST", "/v1/channels", {"json": entry})
    assert asking(DRIVER, store, network, [request])[0].status_code == 202
    store.stand("new", "installed", "")
    assert asking(DRIVER, store, network, [request])[0].status_code == 200


# Its description


def test_the_description_says_what_may_be_written(store: FakeStore) -> None:
    description = ask(store, "GET", "/openapi.json").json()
    operation = description["paths"]["/v1/channels"]["post"]
    schema = operation["requestBody"]["content"]["application/json"]["schema"]
    assert schema["required"] == ["name", "from", "to", "deadline", "min_rate"]
    assert schema["properties"]["from"]["enum"] == list(NETWORK.vms)
    assert operation["security"] == [{"token": []}]
    assert set(operation["responses"]) >= {"200", "202", "401", "403", "409", "412", "413", "422", "429", "503"}
    patch = description["paths"]["/v1/channels/{name}"]["patch"]["requestBody"]["content"]
    assert list(patch) == ["application/merge-patch+json"]
    assert {"type": "null"} in patch["application/merge-patch+json"]["schema"]["properties"]["burst"]["anyOf"]
    assert "HTTPValidationError" not in json.dumps(description)
