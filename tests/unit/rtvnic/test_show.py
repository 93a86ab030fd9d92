"""The verb `show`: tables and JSON of what controllers say, over HTTP."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.domains import Driver, books, class_books, peer_tells, statistics, summary
from support.examples import distinct
from support.http_server import FakeRest, unused_port
from support.networks import two_hypervisors, with_quota

from controller.domain.events import (
    GuestsReported,
    Missed,
    Proof,
    QueueCount,
    QueuesProbed,
    QueuesReported,
    ShimReported,
)
from controller.domain.reports import Role
from controller.guests.books import GuestBook
from controller.model import SwitchKind
from controller.openflow.counts import Traffic
from controller.openflow.pipeline import Purpose
from controller.rest import view
from rtvnic import show
from rtvnic.__main__ import main

NETWORK = with_quota(distinct(two_hypervisors(kind=SwitchKind.PLAIN)), "vm1")
LISTS = ["channels", "classes", "queues", "switches", "peers", "misses", "guests"]
AT_NS = 1_700_000_000_123_456_000


def driver(name: str) -> Driver:
    """A domain at work, with something in every list."""
    made = Driver(NETWORK, name)
    made.connect()
    role, other = (Role.LISTENER, "right") if name == "left" else (Role.TALKER, "left")
    made.hear(
        peer_tells(NETWORK, other, role, packets=97 if name == "left" else 100),
        QueuesReported(name, (QueueCount(1, 5, Traffic(3, 300), 0),)),
        QueuesProbed(name, {(1, 5): Proof.NOT_PROVED}),
        ShimReported(
            statistics(
                {17: books(queueing_delay=summary(100, 1_500_000), lateness=summary(97, -2_000_000))},
                {5: class_books(packets=100, received_packets=97, queueing_delay=summary(100, 1_500_000))},
            )
        ),
        Missed(({"label": 17, "lateness_ns": 1_234_000, "at_ns": AT_NS},)),
    )
    purpose, packets = (Purpose.TALKER, 100) if name == "left" else (Purpose.LISTENER, 97)
    made.count(name, purpose, 17, Traffic(packets, 1))
    if name == "left":
        made.hear(GuestsReported({"vm1": GuestBook(requests=9, refused=2, malformed=1, call_ups=3, subscriptions=1)}))
        made.count(name, Purpose.SPOOFED, 10, Traffic(4, 240))
    return made


def serve(rest: FakeRest, name: str, urls: dict[str, str]) -> None:
    """Have `rest` say what the controller of `name` would, with the topology naming `urls`."""
    domain = driver(name).domain
    for what in LISTS:
        rest.say(f"/v1/{what}", [each.model_dump(mode="json") for each in getattr(view, what)(domain)])
    topology = view.topology(domain).model_dump(mode="json")
    for hypervisor in topology["hypervisors"]:
        hypervisor["rest_url"] = urls[hypervisor["name"]]
    rest.say("/v1/topology", topology)


@pytest.fixture
def left() -> Iterator[FakeRest]:
    with FakeRest() as made:
        yield made


@pytest.fixture
def right() -> Iterator[FakeRest]:
    with FakeRest() as made:
        yield made


@pytest.fixture
def urls(left: FakeRest, right: FakeRest) -> dict[str, str]:
    found = {"left": left.url, "right": right.url}
    serve(left, "left", found)
    serve(right, "right", found)
    return found


def shown(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = main(["show", *words])
    out, err = capsys.readouterr()
    return code, out, err


def rows(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()]


def test_channels_are_one_table_each_once(urls: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = shown(capsys, "channels", "--at", urls["right"])
    assert (code, err) == (0, "")
    assert rows(out)[1:] == [
        ["video", "installed", "5ms", "3.594ms", "-", "-", "100", "3", "0", "-", "0", "-"],
        ["audio", "installed", "100ms", "98.59ms", "-", "-", "0", "0", "0", "-", "0", "-"],
    ]


def test_the_talkers_controller_is_believed_of_a_channel(
    urls: dict[str, str], left: FakeRest, right: FakeRest, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whichever tells first: that of the listener does not know how the channel adapts."""
    (video, _) = (each.model_dump(mode="json") for each in view.channels(driver("left").domain))
    adaptation = {"adapted_ns": 250_000, "most_ns": 1_000_000, "since_ns": AT_NS}
    left.say("/v1/channels", [video | {"talker": "vm2"}])
    right.say("/v1/channels", [video | {"talker": "vm2", "adaptation": adaptation}])
    _, out, _ = shown(capsys, "channels", "--at", urls["left"])
    assert "250us" in rows(out)[1]
    _, out, _ = shown(capsys, "channels", "--json", "--at", urls["left"])
    assert [each["adaptation"] for each in json.loads(out)] == [adaptation]


def test_all_columns_of_channels(urls: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = shown(capsys, "channels", "--wide", "--at", urls["right"])
    assert (code, err) == (0, "")
    _, video, audio = rows(out)
    assert video == [
        "video",
        "-",
        "installed",
        "5ms",
        "3.594ms",
        *["-"] * 2,
        "fast",
        "100",
        "97",
        "3",
        "0",
        "-",
        "0",
        "-",
        *["1.500"] * 3,
        *["-"] * 3,
    ]
    assert audio == [
        "audio",
        "-",
        "installed",
        "100ms",
        "98.59ms",
        *["-"] * 2,
        "slow",
        "0",
        "97",
        "0",
        "0",
        "-",
        "0",
        *["-"] * 7,
    ]


def test_classes_are_those_of_each_domain(urls: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = shown(capsys, "classes", "--wide", "--at", urls["left"])
    found = rows(out)[1:]
    assert [row[:2] for row in found] == [["left", "fast"], ["left", "slow"], ["right", "fast"], ["right", "slow"]]
    assert found[0] == [
        "left",
        "fast",
        "5",
        "not",
        "proved",
        "46",
        "5ms",
        "100",
        "97",
        "0",
        "-",
        "0",
        "-",
        *["1.500"] * 3,
        *["-"] * 3,
        "video",
    ]


def test_queues(urls: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = shown(capsys, "queues", "--at", urls["left"])
    assert rows(out)[1:] == [
        ["left", "left-up", "5", "fast", "3", "300", "0", "100", "not", "proved"],
        ["right", "right-up", "5", "fast", "3", "300", "0", "100", "not", "proved"],
    ]


def test_switches_say_what_they_dropped(urls: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = shown(capsys, "switches", "--at", urls["left"])
    left_row, right_row = rows(out)[1:]
    assert left_row[:3] == ["left", "0000000000000001", "installed"]
    assert left_row[4:] == ["spoofed", "16"], "four flows count them"
    assert right_row[4:] == ["-"]


def test_peers(urls: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = shown(capsys, "peers", "--at", urls["left"])
    assert rows(out)[1:] == [
        ["left", "right", "http://127.0.0.1:8081", "reachable", "0ns", "0", "0", "0", "video", "audio"],
        ["right", "left", "http://127.0.0.1:8080", "reachable", "0ns", "0", "0", "0", "video", "audio"],
    ]


def test_a_peer_is_told_of_by_each_that_it_has(
    urls: dict[str, str], left: FakeRest, right: FakeRest, capsys: pytest.CaptureFixture[str]
) -> None:
    """A session has two ends, and each its counts."""
    for rest, name, reconnects in ((left, "left", 3), (right, "right", 4)):
        (peer,) = (each.model_dump(mode="json") for each in view.peers(driver(name).domain))
        rest.say("/v1/peers", [peer | {"domain": "third", "dropped": 1, "refused": 2, "reconnects": reconnects}])
    _, out, _ = shown(capsys, "peers", "--at", urls["left"])
    assert [[*row[:2], *row[5:8]] for row in rows(out)[1:]] == [
        ["left", "third", "1", "2", "3"],
        ["right", "third", "1", "2", "4"],
    ]


def test_misses_have_their_time_in_utc(urls: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = shown(capsys, "misses", "--at", urls["left"])
    assert rows(out)[1:] == [["2023-11-14", "22:13:20.123456+00:00", "video", "1.234"]]


def test_handlers(urls: dict[str, str], left: FakeRest, right: FakeRest, capsys: pytest.CaptureFixture[str]) -> None:
    counts = {"started": 9, "failed": 1, "timed_out": 2, "retried": 3, "summed": 4, "dropped": 5}
    common = {"kind": "exec", "every_ns": 1, "timeout_ns": 2, "waiting": 6, "running": 0, **counts}
    left.say("/v1/handlers", [{"domain": "left", "name": "pager", "why": "ended with exit code 3", **common}])
    right.say("/v1/handlers", [{"domain": "right", "name": "pager", "why": "", **common}])
    _, out, _ = shown(capsys, "handlers", "--at", urls["left"])
    numbers = ["9", "1", "2", "3", "4", "5", "6"]
    assert rows(out)[1:] == [
        ["left", "pager", "exec", *numbers, "ended", "with", "exit", "code", "3"],
        ["right", "pager", "exec", *numbers, "-"],
    ]


def test_guests(urls: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = shown(capsys, "guests", "--at", urls["left"])
    (row,) = rows(out)[1:]
    assert row[:5] == ["vm1", "left", "0", "of", "4"]
    assert row[-7:] == ["1", "9", "refused", "2,", "malformed", "1", "3"]


@pytest.mark.parametrize("what", LISTS)
def test_json_is_what_the_controllers_say(urls: dict[str, str], what: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = shown(capsys, what, "--json", "--at", urls["left"] + "/")
    assert (code, err) == (0, "")
    said: dict[object, Any] = {}
    for name in ("left", "right"):
        for each in getattr(view, what)(driver(name).domain):
            said.setdefault(show.TABLES[what].key(each.model_dump(mode="json")), each.model_dump(mode="json"))
    assert json.loads(out) == list(said.values())


@pytest.mark.parametrize("what", LISTS)
def test_nothing_to_show(
    urls: dict[str, str], left: FakeRest, right: FakeRest, what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    left.say(f"/v1/{what}", [])
    right.say(f"/v1/{what}", [])
    assert shown(capsys, what, "--at", urls["left"]) == (0, f"no {what}\n", "")
    assert shown(capsys, what, "--json", "--at", urls["left"]) == (0, "[]\n", "")


def test_the_unix_socket_of_a_controller(
    left: FakeRest, right: FakeRest, urls: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It does instead of that controller's own URL, at which one may need a token."""
    left.tokens = {"secret"}
    with FakeRest(left.answers, tmp_path / "left.rest.sock"):
        code, out, err = shown(capsys, "switches", "--at", f"unix:{tmp_path}/left.rest.sock")
    assert (code, err) == (0, "")
    assert [row[0] for row in rows(out)[1:]] == ["left", "right"]
    gone = f"unix:{tmp_path}/none"
    code, _, err = shown(capsys, "switches", "--at", gone)
    assert (code, err.partition(": ")[0]) == (2, f"no controller answers at {gone}")


def test_a_controller_that_does_not_answer_is_named_and_the_others_shown(
    urls: dict[str, str], left: FakeRest, capsys: pytest.CaptureFixture[str]
) -> None:
    gone = f"http://127.0.0.1:{unused_port()}"
    serve(left, "left", urls | {"right": gone})
    code, out, err = shown(capsys, "switches", "--at", urls["left"])
    assert code == 2
    assert [row[0] for row in rows(out)[1:]] == ["left"]
    assert err.startswith(f"no controller answers at {gone}: ")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("status", "detail", "told"),
    [
        (503, "the domain is busy; try again in a moment", "cannot do it: the domain is busy; try again in a moment"),
        (401, "this needs a token", "refuses: this needs a token"),
    ],
)
def test_what_controllers_say_against_it_is_told_and_no_answer_is_not_nothing(
    urls: dict[str, str],
    left: FakeRest,
    right: FakeRest,
    status: int,
    detail: str,
    told: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for rest in (left, right):
        rest.say("/v1/channels", {"title": "", "status": status, "detail": detail}, status)
    lines = "".join(f"the controller at {url} {told}\n" for url in urls.values())
    assert shown(capsys, "channels", "--at", urls["left"]) == (2, "", lines)
    assert shown(capsys, "channels", "--json", "--at", urls["left"]) == (2, "[]\n", lines)
    left.say("/v1/topology", {"title": "", "status": status, "detail": detail}, status)
    code, out, err = shown(capsys, "channels", "--at", urls["left"])
    assert (code, out) == (2, "")
    assert err.startswith(f"the controller at {left.url} {told}; ")


def test_no_controller_at_all(capsys: pytest.CaptureFixture[str]) -> None:
    gone = f"http://127.0.0.1:{unused_port()}"
    code, out, err = shown(capsys, "channels", "--at", gone)
    assert (code, out) == (2, "")
    assert err.startswith(f"no controller answers at {gone}: ")
    assert err.endswith("; start the network (rtvnic up FILE), or give --at its address\n")


@pytest.mark.parametrize("at", ["nonsense", "http://", "ftp://127.0.0.1", "http://127.0.0.1:notaport"])
def test_an_address_that_is_none(at: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = shown(capsys, "channels", "--at", at)
    assert (code, out) == (2, "")
    assert err == f"'{at.rstrip('/')}' is no address of a controller; write http://127.0.0.1:8181 or unix:PATH\n"


def test_a_token_that_cannot_be_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "bytes").write_bytes(b"\xff")
    for name, why in (("none", "No such file or directory"), ("bytes", "it is not plain text")):
        code, _, err = shown(capsys, "channels", "--token-file", str(tmp_path / name))
        assert (code, err.partition("; ")[0]) == (2, f"cannot read {tmp_path}/{name}: {why}")


def test_a_token_is_shown_to_every_controller(
    left: FakeRest, right: FakeRest, urls: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    left.tokens = right.tokens = {"secret"}
    file = tmp_path / "token"
    file.write_text("secret\n")
    assert shown(capsys, "switches", "--at", urls["left"])[0] == 2
    code, out, err = shown(capsys, "switches", "--at", urls["left"], "--token-file", str(file))
    assert (code, err, len(rows(out))) == (0, "", 3)


@pytest.mark.parametrize(("status", "content"), [(200, b"<html>"), (404, b"{}"), (500, b"{}")])
def test_something_else_than_a_controller(
    left: FakeRest, status: int, content: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    left.answers["/v1/topology"] = (status, content)
    code, _, err = shown(capsys, "channels", "--at", left.url)
    assert code == 2
    assert err.startswith(f"what answers at {left.url} is no controller, or a busy one ({status}); ")


@pytest.mark.parametrize("content", [[], {}, {"hypervisors": 7}, {"hypervisors": [7]}, "hello", None])
def test_a_json_server_that_is_no_controller(
    left: FakeRest, content: object, capsys: pytest.CaptureFixture[str]
) -> None:
    left.say("/v1/topology", content)
    code, _, err = shown(capsys, "channels", "--at", left.url)
    assert code == 2
    assert err.startswith(f"what answers at {left.url} is no controller, or a busy one (200); ")


@pytest.mark.parametrize("content", [7, [7], [{}], None])
def test_another_server_at_the_address_of_a_controller(
    urls: dict[str, str], right: FakeRest, content: object, capsys: pytest.CaptureFixture[str]
) -> None:
    right.say("/v1/switches", content)
    code, out, err = shown(capsys, "switches", "--at", urls["left"])
    assert (code, len(rows(out))) == (2, 2)
    assert err == f"what answers at {right.url} is no controller, or a busy one (200)\n"


def test_what_can_be_shown(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["show", "everything"])
    assert "'channels'" in capsys.readouterr().err
