"""`rtvnic-guest` against a service on the loopback."""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from support.guest_service import FIRST_ID, MISSED, Eager, GuestService
from support.waiting import PATIENCE_S, wait_until

from guest import verbs
from guest.__main__ import main
from guest.messages import Answer, Change, Kind, Renew, State, Status

ROOT = Path(__file__).parents[3]
CONTRACT = ("--deadline", "5ms", "--rate", "2Mbps")
TARGET = ("127.0.0.2:5000", "--protocol", "udp")


@pytest.fixture
def service() -> Iterator[GuestService]:
    with GuestService() as running:
        yield running


@pytest.fixture
def eager() -> Iterator[GuestService]:
    """Each channel misses something at once."""
    with Eager() as running:
        yield running


def at(service: GuestService) -> tuple[str, str]:
    return ("--service", f"{service.way.host}:{service.way.port}")


@contextmanager
def program(*words: str) -> Iterator[subprocess.Popen[str]]:
    """`python -m guest` with pipes; killed if it has not ended by itself."""
    command = [sys.executable, "-m", "guest", *words]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, text=True, stdin=pipe, stdout=pipe, stderr=pipe) as running:
        try:
            yield running
        finally:
            running.kill()


def heard(running: subprocess.Popen[str]) -> Any:
    """The object in the next line that it prints."""
    assert running.stdout is not None
    return json.loads(running.stdout.readline())


def opened(service: GuestService) -> None:
    assert main(["open", *TARGET, *CONTRACT, "--once", *at(service)]) == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_open_tells_of_misses_until_it_is_interrupted(eager: GuestService, number: signal.Signals) -> None:
    with program("open", *TARGET, *CONTRACT, "--json", *at(eager)) as running:
        assert heard(running)["channel_id"] == FIRST_ID
        missed = heard(running)
        assert (missed["event"], missed["channel_id"], missed["worst_ns"]) == ("missed", FIRST_ID, MISSED.worst_ns)
        assert [*eager.channels] == [FIRST_ID]
        running.send_signal(number)
        assert running.wait(PATIENCE_S) == 0
        assert running.stderr is not None and running.stderr.read() == ""
    assert eager.channels == {}


def test_open_ends_with_who_reads_it(eager: GuestService) -> None:
    with program("open", *TARGET, *CONTRACT, *at(eager)) as running:
        assert running.stdout is not None and running.stderr is not None
        running.stdout.close()
        assert running.wait(PATIENCE_S) == 0
        assert running.stderr.read() == ""
    assert eager.channels == {}


def test_open_once_leaves_the_channel(service: GuestService, capsys: pytest.CaptureFixture[str]) -> None:
    opened(service)
    assert capsys.readouterr().out == (
        "channel 17 is installed, deadline 5ms, 2Mbps, takes 3.2ms at most\n"
    )  # fmt: skip
    contract = service.channels[FIRST_ID].contract
    assert (str(contract.destination), contract.dst_port, contract.protocol) == ("127.0.0.2", 5000, 17)
    assert str(contract.source).startswith("127.0.0.")


def test_run_keeps_the_channel_while_the_program_runs(service: GuestService) -> None:
    script = "read line; exit 7"
    with program("run", *TARGET, *CONTRACT, *at(service), "--", "sh", "-c", script) as running:
        wait_until(lambda: service.channels)
        assert running.stdin is not None
        running.stdin.close()
        assert running.wait(PATIENCE_S) == 7
    assert service.channels == {}


def test_run_signals_the_program(eager: GuestService) -> None:
    """It ends by the signal that it does not expect: the exit code says which."""
    number = signal.SIGRTMIN + 2
    with program("run", *TARGET, *CONTRACT, *at(eager), "--signal", "RTMIN+2", "--", "sleep", "60") as running:
        assert running.wait(PATIENCE_S) == 128 + number


def test_run_says_what_it_cannot_run(service: GuestService, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", *TARGET, *CONTRACT, *at(service), "--", "/no/such/program"]) == 2
    assert capsys.readouterr().err == "cannot run /no/such/program: No such file or directory\n"
    assert service.channels == {}


def test_list(service: GuestService, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", *at(service)]) == 0
    assert capsys.readouterr().out == "no channels\n"
    opened(service)
    capsys.readouterr()
    assert main(["list", *at(service)]) == 0
    headers, row = capsys.readouterr().out.splitlines()
    assert headers.split() == ["id", "from", "to", "protocol", "deadline", "rate", "state", "lease"]
    assert [*row.split()[:1], *row.split()[2:]] == ["17", "127.0.0.2:5000", "udp", "5ms", "2Mbps", "installed", "30s"]

    assert main(["list", "--json", *at(service)]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert (listed["channel_id"], listed["protocol"], listed["destination"]) == (17, "udp", "127.0.0.2")


def test_change_and_close(service: GuestService, capsys: pytest.CaptureFixture[str]) -> None:
    opened(service)
    capsys.readouterr()
    assert main(["change", "17", "--deadline", "4ms", *at(service)]) == 0
    assert Change(17, 0, 0, 4_000_000, 0) in service.asked
    assert "deadline 4ms, 2Mbps" in capsys.readouterr().out
    assert main(["close", "17", "--json", *at(service)]) == 0
    assert json.loads(capsys.readouterr().out) == {"event": "closed", "channel_id": 17}
    assert service.channels == {}


@pytest.mark.parametrize(("left_s", "renewed_s"), [(20, 20), (0, 30)])
def test_change_shortens_no_lease(service: GuestService, left_s: int, renewed_s: int) -> None:
    opened(service)
    service.refusals[Kind.CHANGE] = Answer(Status.DONE, State.INSTALLING, FIRST_ID, left_s, 0, 4_000_000, 2_000_000)
    assert main(["change", "17", "--deadline", "4ms", *at(service)]) == 0
    assert Renew(FIRST_ID, renewed_s) in service.asked


def test_watch_tells_of_all_channels(service: GuestService) -> None:
    with program("watch", "--json", *at(service)) as running:
        wait_until(lambda: service.is_subscribed(0))
        for channel_id in (17, 18):
            service.tell(replace(MISSED, channel_id=channel_id))
            assert heard(running)["channel_id"] == channel_id
        running.send_signal(signal.SIGINT)
        assert running.wait(PATIENCE_S) == 0
    wait_until(lambda: not service.is_subscribed(0))


def test_a_refusal_is_one_line_and_exit_code_1(service: GuestService, capsys: pytest.CaptureFixture[str]) -> None:
    service.refusals[Kind.OPEN] = Answer(Status.REFUSED, State.WAITING, 0, 0, 0, 6_000_000, 0, "left: too much\nmore")
    assert main(["open", *TARGET, *CONTRACT, *at(service)]) == 1
    assert capsys.readouterr().err == "left: too much; more; a deadline of 6ms would do\n"
    assert main(["close", "99", *at(service)]) == 1
    assert capsys.readouterr().err == "this VM has no such channel\n"


def test_silence_is_one_line_and_exit_code_2(capsys: pytest.CaptureFixture[str], monkeypatch: Any) -> None:
    monkeypatch.setattr("guest.session.PAUSES_NS", (1_000_000,))
    assert main(["list", "--service", "127.0.0.1:9"]) == 2
    told = capsys.readouterr().err
    assert told.startswith("no answer from 127.0.0.1: is this VM's hypervisor running rtvnic") and told.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["open", "nowhere", *CONTRACT], "'nowhere' is no address; write 10.0.0.2:5000 or [fd00::2]:5000"),
        (["open", "10.0.0.2:99999", *CONTRACT], "'99999' is no port; write 1 to 65535"),
        (["close", "video"], "'video' is no channel; rtvnic-guest list shows their ids"),
        (["run", *TARGET, *CONTRACT, "--signal", "USR1", "true"], "invalid choice: 'USR1'"),
        (["open", *TARGET, "--deadline", "5", "--rate", "2Mbps"], "--deadline: '5' has no unit; write 5ms or 500us"),
        (["change", "17", "--deadline", "5"], "--deadline: '5' has no unit; write 5ms or 500us"),
        (["change", "17", "--rate", "2MBps"], "--rate: '2MBps' has an unknown unit 'MBps'; allowed: bps, kbps"),
        (["open", *TARGET, *CONTRACT, "--burst", "0B"], "--burst: '0B' is nothing; write 64kB or 1500B"),
        (["watch", "--lease", "1m"], "--lease: '1m' has an unknown unit 'm'; allowed: s"),
    ],
)
def test_says_what_is_wrong_with_a_word(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


def test_an_interface_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "--interface", "nosuch0"]) == 2
    assert capsys.readouterr().err == "there is no interface 'nosuch0'; `ip link` shows those of this VM\n"


def test_another_address_of_the_service_is_reached_by_the_interface(service: GuestService) -> None:
    assert main(["list", "--interface", "lo", *at(service)]) == 0
    link_local = argparse.Namespace(service=(ip_address("fe80::5256"), 1021), interface="lo")
    assert verbs._way(link_local).address == ("fe80::5256", 1021, 0, socket.if_nametoindex("lo"))


def test_a_defect_is_no_answer(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verbs, "_way", lambda _: 1 / 0)
    assert main(["list"]) == os.EX_SOFTWARE
    assert "ZeroDivisionError" in capsys.readouterr().err


def test_runs_where_there_is_nothing_but_the_directory(tmp_path: Path) -> None:
    """As copied into a VM: no site packages, no other directory of ours."""
    os.symlink(ROOT / "guest", tmp_path / "guest")
    script = "import sys; sys.path.insert(0, '.'); from guest.__main__ import main; main()"
    command = [sys.executable, "-I", "-S", "-c", script, "--help"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.stdout.startswith("usage: rtvnic-guest"), done.stderr
