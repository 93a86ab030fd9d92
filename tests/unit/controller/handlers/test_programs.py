"""Programs that misses start, as real processes: what they have, what they may, and that they end."""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path

import pytest
from support.miss_handlers import program
from support.waiting import wait_until

from controller.errors import CannotRun
from controller.handlers import programs
from controller.handlers.declared import Program
from controller.units import NS_PER_MS, NS_PER_S

SHELL = "/bin/sh"
ENOUGH_NS = 20 * NS_PER_S


def shell(script: str, timeout_ns: int = ENOUGH_NS, user: str = "nobody", **variables: str) -> programs.Ended:
    environment = {"PATH": "/usr/bin:/bin", **variables}
    return programs.run(Program((SHELL, "-c", script), user), environment, timeout_ns)


def test_it_ends_with_its_code_and_what_it_has_said() -> None:
    assert shell("echo out; echo err >&2; exit 3") == programs.Ended(3, "out\nerr")


def test_words_are_passed_on_as_they_are() -> None:
    """No shell has a look at them."""
    words = ("/usr/bin/printf", "%s|", "$HOME", "a b", "; id", "*")
    assert programs.run(Program(words), {}, ENOUGH_NS).output == "$HOME|a b|; id|*|"


def test_it_has_the_environment_that_it_is_given_and_nothing_to_read() -> None:
    os.environ["SECRET_OF_THE_CONTROLLER"] = "x"
    ended = programs.run(Program(("/usr/bin/env",)), {"RTVNIC_CHANNEL": "video"}, ENOUGH_NS)
    assert ended.output == "RTVNIC_CHANNEL=video"
    assert shell("read line; echo $?").output == "1"


def test_it_has_no_descriptor_of_the_controllers() -> None:
    left, right = os.pipe()
    os.set_inheritable(left, True)
    try:
        assert shell("echo /proc/self/fd/*").output in (
            " ".join(f"/proc/self/fd/{number}" for number in (0, 1, 2, *more)) for more in ((), (3,), (10,), (3, 10))
        )
    finally:
        os.close(left)
        os.close(right)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become another user")
def test_it_has_no_privilege_and_gets_none() -> None:
    said = shell("id -un; grep -E 'CapEff|NoNewPrivs' /proc/self/status").output.split()
    assert said == ["nobody", "CapEff:", "0000000000000000", "NoNewPrivs:", "1"]
    assert shell("id -un", user="root").output == "root"


def test_its_descendants_have_its_limits(tmp_path: Path) -> None:
    limits = shell("sh -c 'ulimit -d; ulimit -n; ulimit -c; ulimit -t'", timeout_ns=1500 * NS_PER_MS).output.split()
    assert limits == [str(programs.MEMORY_MAX >> 10), str(programs.FILES_MAX), "0", "2"]


def test_it_is_the_first_to_go_when_memory_is_short() -> None:
    wait = "while [ $(cat /proc/self/oom_score_adj) -lt 1000 ]; do :; done; echo is"
    assert shell(wait).output == "is"


def test_more_memory_than_that_it_does_not_get() -> None:
    ended = programs.run(
        Program((sys.executable, "-S", "-c", f"bytearray({programs.MEMORY_MAX})"), "root"), {}, ENOUGH_NS
    )
    assert ended.code == 1 and ended.output.endswith("MemoryError")


def test_signals_are_as_a_program_expects_them() -> None:
    """Although the threads of a controller block those that end it."""
    ended: list[programs.Ended] = []

    def run() -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
        ended.append(shell("kill -TERM $$; echo still here"))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert ended == [programs.Ended(-signal.SIGTERM, "")]


def test_when_its_time_is_over_it_is_killed_with_all_its_children() -> None:
    ended = shell("sleep 1000 & echo $!; trap '' TERM HUP INT; wait", timeout_ns=300 * NS_PER_MS)
    assert ended.code is None
    wait_until(lambda: not is_running(int(ended.output)))


def test_what_it_leaves_behind_is_killed() -> None:
    """Also where that has the output open still."""
    ended = shell("sleep 1000 & echo $!")
    assert ended.code == 0
    wait_until(lambda: not is_running(int(ended.output)))


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_of_much_output_the_first_is_kept() -> None:
    ended = shell("yes | head -c 1000000")
    assert (ended.code, len(ended.output)) == (0, programs.OUTPUT_MAX - 1)  # without the end of the last line


def test_what_is_no_text_is_none() -> None:
    assert shell(r"printf '\377\376'").output == "\ufffd\ufffd"


def test_one_that_closes_its_output_is_waited_for() -> None:
    assert shell("exec >&- 2>&-; sleep 0.01; exit 4") == programs.Ended(4, "")


@pytest.mark.parametrize(
    ("words", "user", "why"),
    [
        (("/nowhere/page",), "nobody", "there is no program /nowhere/page; install it, or correct `exec` in the file"),
        (("/etc/passwd",), "nobody", r"/etc/passwd cannot be executed; chmod \+x /etc/passwd"),
        (("/bin/true",), "no-such-user", "there is no user no-such-user; useradd --system no-such-user, or name"),
    ],
)
def test_what_cannot_be_run_says_why(words: tuple[str, ...], user: str, why: str) -> None:
    with pytest.raises(CannotRun, match=why):
        programs.run(Program(words, user), {}, ENOUGH_NS)


def test_one_that_others_may_write_is_not_run(tmp_path: Path) -> None:
    path = Path(program(tmp_path / "page"))
    path.chmod(0o777)
    with pytest.raises(CannotRun, match=f"others than its owner may write {path}; chmod go-w {path}"):
        programs.run(Program((str(path),)), {}, ENOUGH_NS)


def test_without_util_linux_the_cure_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "SETPRIV", "/nowhere/setpriv")
    with pytest.raises(CannotRun, match="cannot start /nowhere/setpriv: No such file or directory; apt-get install"):
        shell("true")
