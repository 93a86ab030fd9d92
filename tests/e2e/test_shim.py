"""The shim as a process between real interfaces. Needs root."""

from __future__ import annotations

import os
import re
import signal
import socket
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.frames import (
    ETHERTYPE_ARP,
    ETHERTYPE_IP,
    ETHERTYPE_MPLS,
    LEAST_BYTES,
    channel_of,
    deadline_label_of,
    frame,
    label_entry,
    labelled,
    ttl_of,
)
from support.shim_lab import LIVENESS, PATIENCE_S, ShimClient, ShimLab, stop
from support.waiting import wait_until

from controller.network.labels import absolute_deadline_label, lateness_ns, relative_deadline_label
from rtvnic import tune

MS = 1_000_000
CHANNEL: dict[str, Any] = {"label": 4711, "rate_bps": 0, "burst_bytes": 0, "downstream_ns": 0}
FULL_BYTES = 14 + 1508


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[ShimLab]:
    with ShimLab(f"dp-{os.getpid()}", tmp_path) as shim_lab:
        yield shim_lab


def occupy_wire(app: socket.socket, far: socket.socket) -> None:
    """Have a wire of 100 kbit/s busy for the next 123 ms."""
    app.send(frame(ETHERTYPE_IP, length=1514))
    far.recv(2048)


def receive(tap: socket.socket, count: int) -> list[bytes]:
    return [tap.recv(2048) for _ in range(count)]


def settled(client: ShimClient, side: str, counter: str, value: int) -> dict[str, int]:
    """The counters of one side, as soon as one of them has its value, or else as they are after a while."""
    end = time.monotonic() + PATIENCE_S
    while True:
        counters: dict[str, int] = client.ask("statistics")[side]
        if counters[counter] == value or time.monotonic() > end:
            return counters
        time.sleep(0.01)


def test_a_labelled_frame_leaves_with_its_absolute_deadline(lab: ShimLab) -> None:
    lab.start()
    with lab.tap("app") as app, lab.tap("far") as far:
        for length in (LEAST_BYTES, FULL_BYTES):
            sent = labelled(relative_deadline_label(5 * MS), CHANNEL["label"], tc=6, length=length)
            before_ns = time.time_ns()
            app.send(sent)
            received = far.recv(2048)
            after_ns = time.time_ns()
            assert ttl_of(received) == 254
            stamp = deadline_label_of(received)
            assert lateness_ns(stamp, before_ns + 5 * MS) < 10_000
            assert lateness_ns(stamp, after_ns + 5 * MS) >= 0
            assert received[:14] == sent[:14]
            assert received[16] & 0x0F == sent[16] & 0x0F
            assert received[18:] == sent[18:]


def test_a_stamped_frame_keeps_its_stamp(lab: ShimLab) -> None:
    lab.start()
    with lab.tap("app") as app, lab.tap("far") as far:
        sent = labelled(absolute_deadline_label(time.time_ns() + 5 * MS), CHANNEL["label"], ttl=254)
        app.send(sent)
        assert far.recv(2048) == sent


def test_the_earliest_deadline_leaves_first(lab: ShimLab) -> None:
    lab.start("--rate", "100kbps")
    deadlines_ms = [900, 500, 700, 600, 800]
    with lab.tap("app") as app, lab.tap("far") as far:
        occupy_wire(app, far)
        for deadline_ms in deadlines_ms:
            app.send(labelled(relative_deadline_label(deadline_ms * MS), deadline_ms))
        assert [channel_of(data) for data in receive(far, 5)] == sorted(deadlines_ms)


def test_best_effort_goes_first_only_while_there_is_slack(lab: ShimLab) -> None:
    lab.start("--rate", "100kbps", "--be-slack", "500ms")
    with lab.tap("app") as app, lab.tap("far") as far:
        occupy_wire(app, far)
        urgent, patient = (labelled(relative_deadline_label(ms * MS), ms) for ms in (300, 2000))
        for data in (patient, frame(ETHERTYPE_IP), urgent):
            app.send(data)
        first, second, third = receive(far, 3)
        assert (channel_of(first), second, channel_of(third)) == (300, frame(ETHERTYPE_IP), 2000)


def test_best_effort_passes_unchanged(lab: ShimLab) -> None:
    lab.start("--rate", "100Mbps")
    tagged = frame(0x8100, bytes.fromhex("00070800") + b"inner")
    untagged = tagged[:12] + tagged[16:]
    plain = [frame(ETHERTYPE_IP, os.urandom(1000)), frame(ETHERTYPE_ARP), frame(0x88F7)]
    with lab.tap("app") as app, lab.tap("far") as far, ShimClient(lab.socket_path) as client:
        for data in (*plain, tagged):
            app.send(data)
        received = receive(far, 4)
        assert sorted(received) == sorted((*plain, untagged))  # the receiving kernel takes the tag out again
        counters = settled(client, "egress", "best_effort_packets", 4)
        assert counters["best_effort_bytes"] == sum(map(len, (*plain, tagged)))
        assert counters["real_time_packets"] == 0


def test_arp_passes_a_flood(lab: ShimLab) -> None:
    lab.start("--rate", "10Mbps")
    with lab.tap("app") as app, lab.tap("far") as far:
        for _ in range(500):
            app.send(frame(ETHERTYPE_IP, length=1514))  # 0.6 s on the wire
        app.send(frame(ETHERTYPE_ARP))
        before_arp = list(iter(lambda: far.recv(2048), frame(ETHERTYPE_ARP)))
        assert len(before_arp) < 250


def test_malformed_frames_are_dropped_under_their_cause(lab: ShimLab) -> None:
    lab.start()
    bottom, other = label_entry(20, is_bottom=True), label_entry(20, ttl=255)
    too_short = frame(ETHERTYPE_MPLS, other, length=0)
    with lab.tap("app") as app, lab.tap("far") as far, ShimClient(lab.socket_path) as client:
        for data in (too_short, frame(ETHERTYPE_MPLS, bottom), frame(ETHERTYPE_MPLS, other + other + bottom)):
            app.send(data)
            far.send(data)
        app.send(labelled(500, 4711))
        assert channel_of(far.recv(2048)) == 4711
        egress = settled(client, "egress", "real_time_packets", 1)
        ingress = settled(client, "ingress", "many_labels", 1)
        for counters in (egress, ingress):
            assert [counters[cause] for cause in ("short", "one_label", "many_labels")] == [1, 1, 1]
        assert egress["unknown_channel"] == 1
        assert ingress["packets"] == 0


def test_the_check_tells_misses_from_bypassed_and_timely(lab: ShimLab) -> None:
    lab.start()
    with lab.tap("far") as far, ShimClient(lab.socket_path) as client:
        client.ask("channels", set=[CHANNEL])
        assert client.ask("subscribe", to=["misses"])["ok"]
        now_ns = time.time_ns()
        far.send(labelled(absolute_deadline_label(now_ns - 20 * MS), 4711, ttl=254, length=100))
        far.send(labelled(absolute_deadline_label(now_ns + 2000 * MS), 4711, ttl=254, length=100))
        far.send(labelled(relative_deadline_label(5 * MS), 4711, ttl=255, length=100))
        event = client.next_message()
        (miss,) = event["misses"]
        assert event["event"] == "misses"
        assert miss["label"] == 4711
        assert 20 * MS <= miss["lateness_ns"] < 1000 * MS
        assert now_ns <= miss["at_ns"] <= time.time_ns()
        counters = settled(client, "ingress", "packets", 3)
        assert (counters["missed"], counters["bypassed"], counters["unknown_channel"]) == (1, 1, 0)
        statistics = client.ask("statistics")
        books = statistics["channels"]["4711"]
        assert (books["received_packets"], books["received_bytes"]) == (3, 300)
        assert (books["missed"], books["bypassed"]) == (1, 1)
        assert books["lateness"]["count"] == 2
        assert books["lateness_up_to"][statistics["bounds_ns"]["lateness"].index(0)] == 1, "the other one is late"
        assert books["lateness"]["min"] < -1000 * MS < 0 < books["lateness"]["max"]


def test_the_books_of_a_channel_live_as_long_as_it_is_in_the_table(lab: ShimLab) -> None:
    lab.start("--rate", "10Mbps")
    with lab.tap("app") as app, lab.tap("far") as far, ShimClient(lab.socket_path) as client:
        assert client.ask("channels", set=[CHANNEL, CHANNEL | {"label": 16}])["count"] == 2
        for _ in range(10):
            app.send(labelled(500, 4711, tc=6, length=1000))
        receive(far, 10)
        client.ask("channels", set=[CHANNEL])
        settled(client, "egress", "real_time_packets", 10)
        statistics = client.ask("statistics")
        books = statistics["channels"]["4711"]
        assert (books["sent_packets"], books["sent_bytes"]) == (10, 10_000)
        assert 5 * MS < books["queueing_delay"]["max"] < 1000 * MS  # the tenth of 0.82 ms each
        assert statistics["channels"]["16"]["queueing_delay"]["p50"] is None
        assert statistics["classes"]["6"]["packets"] == 10
        assert client.ask("channels", remove=[4711, 5000])["count"] == 1
        client.ask("channels", set=[CHANNEL])
        assert client.ask("statistics", labels=[4711])["channels"]["4711"]["sent_packets"] == 0


def test_the_socket_is_private_and_survives_nonsense(lab: ShimLab) -> None:
    lab.start("--rate", "100Mbps")
    assert stat.S_IMODE(lab.socket_path.stat().st_mode) == 0o600
    with ShimClient(lab.socket_path) as client:
        for line in (b"{", b"[]", b"{}", b'{"op": "fly"}', b'{"op": "channels", "set": [{"label": 3}]}'):
            client.send(line)
            assert client.next_message()["ok"] is False
        in_force = {"rate_bps": 10**8, "be_slack_ns": 2 * MS, "allowance_ns": 0}
        assert client.ask("configure") == {"id": "configure", "ok": True} | in_force
        assert client.ask("configure", rate_bps=0)["rate_bps"] == 0
    with ShimClient(lab.socket_path) as talkative:
        with pytest.raises(OSError):
            talkative.send(b"x" * (1 << 21))
        assert talkative.next_message() == {}


def test_a_client_that_never_reads_is_cut_off(lab: ShimLab) -> None:
    lab.start()
    with ShimClient(lab.socket_path) as client, ShimClient(lab.socket_path) as deaf:
        client.ask("channels", set=[CHANNEL | {"label": label} for label in range(16, 1016)])
        with pytest.raises(OSError):
            for _ in range(100):
                deaf.send(b'{"op": "statistics"}')
                client.ask("configure")
        assert client.ask("configure")["ok"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_in_good_order(lab: ShimLab, number: int) -> None:
    process = lab.start_live("--report", "60")
    with lab.tap("app") as app, lab.tap("far") as far:
        app.send(labelled(500, 4711, tc=6))
        far.recv(2048)
    code, output, errors = stop(process, number)
    assert (code, errors) == (0, "")
    assert "class 6" in output
    assert not lab.socket_path.exists()
    wait_until(lambda: not lab.is_live())


def test_the_tap_goes_down_when_it_is_killed(lab: ShimLab) -> None:
    process = lab.start_live()
    process.kill()
    process.wait()
    wait_until(lambda: not lab.is_live())
    lab.start_live()  # takes the place of the dead one, its socket too


@pytest.mark.parametrize("lost", ["app", "far"])
def test_it_ends_when_an_interface_goes(lab: ShimLab, lost: str) -> None:
    process = lab.start()
    lab.run(f"ip link del {lost}")
    _, errors = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 2
    assert errors.startswith(f"interface {'app-shim' if lost == 'app' else 'wire'} is gone")


def test_it_runs_on_the_processors_that_it_is_given(lab: ShimLab) -> None:
    process = lab.start("--cpus", "0")
    threads = Path(f"/proc/{process.pid}/task")
    assert {os.sched_getaffinity(int(thread.name)) == {0} for thread in threads.iterdir()} == {True}
    refused = lab.spawn("--cpus", "100000,100001")
    assert "cannot run on the processors 100000,100001: " in refused.communicate(timeout=PATIENCE_S)[1]
    assert refused.returncode == 2


def test_it_outlives_a_link_that_is_down_for_a_while(lab: ShimLab) -> None:
    lab.start()
    for interface in ("app-shim", "wire"):
        lab.run(f"ip link set {interface} down")
        lab.run(f"ip link set {interface} up")
    with lab.tap("app") as app, lab.tap("far") as far:
        app.send(labelled(500, 4711))
        assert channel_of(far.recv(2048)) == 4711


def test_it_dies_with_its_parent(lab: ShimLab) -> None:
    parent = lab.start_live(under=("sh", "-c", '"$@" --die-with-parent $$ & wait', "sh"))
    parent.kill()
    assert parent.stdout is not None
    assert parent.stdout.read() == "", "the shim, which has the same output, has closed it"
    assert not lab.socket_path.exists()
    wait_until(lambda: not lab.is_live())


def test_classes_of_the_qdisc_see_the_labels(lab: ShimLab) -> None:
    lab.run("tc qdisc add dev wire root handle 1: htb default 1")
    for queue in (1, 6):
        lab.run(f"tc class add dev wire parent 1: classid 1:{queue} htb rate 1gbit")
    match_tc_5 = "u32 match u8 0x0a 0x0e at 2 flowid 1:6"
    lab.run(f"tc filter add dev wire parent 1: protocol mpls_uc {match_tc_5}")
    lab.start()
    with lab.tap("app") as app, lab.tap("far") as far:
        for data in (labelled(500, 4711, tc=5), labelled(500, 4711, tc=5), labelled(500, 4711, tc=3)):
            app.send(data)
        app.send(frame(ETHERTYPE_IP))
        receive(far, 4)
    assert _sent_by_class(lab) == {"1:1": 2, "1:6": 2}


def _sent_by_class(lab: ShimLab) -> dict[str, int]:
    shown = lab.run("tc -s class show dev wire")
    found = re.findall(r"class htb (\S+) .*\n Sent \d+ bytes (\d+) pkt", shown)
    return {handle: int(packets) for handle, packets in found}


def test_a_new_rate_ends_the_wait_for_the_old_wire(lab: ShimLab) -> None:
    lab.start("--rate", "1kbps")
    with lab.tap("app") as app, lab.tap("far") as far, ShimClient(lab.socket_path) as client:
        app.send(labelled(500, 100, length=1514))  # 12 s at this rate
        far.recv(2048)
        app.send(labelled(500, 200))
        client.ask("configure", rate_bps=0)
        assert channel_of(far.recv(2048)) == 200


def test_without_privileges_it_warns_and_goes_on(lab: ShimLab) -> None:
    process = lab.start(under=("setpriv", "--bounding-set", "-sys_nice,-ipc_lock", "--inh-caps", "-sys_nice,-ipc_lock"))
    _, _, errors = stop(process)
    assert [line.partition(":")[0] for line in errors.splitlines()] == ["no real-time priority", "memory is not locked"]


def test_tuning_gives_it_the_priority_that_it_was_refused(lab: ShimLab) -> None:
    process = lab.start_live(under=("setpriv", "--bounding-set", "-sys_nice", "--inh-caps", "-sys_nice"))
    guard = int(Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text())
    own = {guard, *(int(task.name) for task in Path(f"/proc/{process.pid}/task").iterdir())}
    changes = [change for change in tune.shims(()) if getattr(change.setting, "pid", None) in own]
    assert {change.was for change in changes} == {"other 0"}
    for change in changes:
        change.setting.write(change.wanted)
    urgent = [thread for thread in own if os.sched_getscheduler(thread) == os.SCHED_FIFO]
    names = {thread: Path(f"/proc/{thread}/comm").read_text().strip() for thread in urgent}
    priorities = {name: os.sched_getparam(thread).sched_priority for thread, name in names.items()}
    assert priorities == {"edf-egress": 50, "edf-check": 49, "edf-guard": 51}


def test_what_it_cannot_do_is_one_line(lab: ShimLab) -> None:
    without_raw_sockets = ("setpriv", "--bounding-set", "-net_raw", "--inh-caps", "-net_raw")
    processes = {
        lab.spawn(inner="nope"): "there is no interface nope; ",
        lab.spawn(uplink="lo"): "lo is not an Ethernet interface; ",
        lab.spawn("--liveness", "nope"): "there is no interface nope; make it: ",
        lab.spawn("--socket", "/nope/shim.sock"): "cannot listen at /nope/shim.sock: ",
        lab.spawn(under=without_raw_sockets): "the shim may not open raw sockets; ",
    }
    for process, beginning in processes.items():
        _, errors = process.communicate(timeout=PATIENCE_S)
        assert process.returncode == 2
        assert errors.splitlines()[-1].startswith(beginning)


def test_two_shims_do_not_share_a_socket_or_a_tap(lab: ShimLab) -> None:
    lab.start("--liveness", LIVENESS)
    for options in (("--socket", str(lab.socket_path)), ("--liveness", LIVENESS)):
        process = lab.spawn(*options)
        _, errors = process.communicate(timeout=PATIENCE_S)
        assert process.returncode == 2
        assert "another shim" in errors
    with ShimClient(lab.socket_path) as client:
        assert client.ask("configure")["ok"]
