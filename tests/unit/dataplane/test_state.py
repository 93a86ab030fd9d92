"""Where state lies, and that it has one owner. What is in it is tests/native/state.c's."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from dataplane.errors import ShimError
from dataplane.state import SHARED_MEMORY, identity, open_state, remove_states, state_file

NOT_IN_MEMORY = Path("/proc")
"""A directory that is on every machine, and on none a tmpfs."""

OPEN = "import sys; from pathlib import Path; from dataplane.state import open_state; open_state(Path(sys.argv[1]))"


@pytest.fixture
def in_memory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=SHARED_MEMORY) as directory:
        yield Path(directory)


def opened_elsewhere(file: Path) -> subprocess.CompletedProcess[str]:
    """The end of another process that opens the state in `file`."""
    return subprocess.run([sys.executable, "-c", OPEN, str(file)], capture_output=True, text=True)


def test_state_in_memory_is_beside_the_socket(in_memory: Path) -> None:
    assert state_file(in_memory / "left.shim.sock") == in_memory / "left.shim.sock.state"


def test_state_is_never_on_a_disk() -> None:
    first, second = (state_file(NOT_IN_MEMORY / name) for name in ("left.sock", "right.sock"))
    assert {first.parent, second.parent} == {SHARED_MEMORY}
    assert first != second


def test_different_directories_have_different_state() -> None:
    paths = [NOT_IN_MEMORY / "sys" / "net.sock", NOT_IN_MEMORY / "sys-net.sock", NOT_IN_MEMORY / "sys%2Fnet.sock"]
    assert len({state_file(path) for path in paths}) == len(paths)


def test_a_socket_needs_a_directory(in_memory: Path) -> None:
    with pytest.raises(ShimError, match="there is no directory"):
        state_file(in_memory / "nope" / "shim.sock")


def test_removing_spares_the_state_of_other_directories(in_memory: Path, tmp_path: Path) -> None:
    beside = in_memory / "a.sock.state"
    elsewhere = state_file(tmp_path / "a.sock")
    for file in (beside, elsewhere):
        file.touch()
    remove_states(in_memory)
    assert (beside.exists(), elsewhere.exists()) == (False, True)
    remove_states(tmp_path)
    assert not elsewhere.exists()


def test_an_open_state_is_private_and_has_one_owner(in_memory: Path) -> None:
    file = in_memory / "a.sock.state"
    descriptor = open_state(file)
    assert file.stat().st_mode & 0o777 == 0o600
    assert "another shim has its state in" in opened_elsewhere(file).stderr
    os.close(descriptor)
    assert opened_elsewhere(file).returncode == 0


def test_a_link_is_not_followed(in_memory: Path) -> None:
    target = in_memory / "target"
    target.write_text("precious")
    (in_memory / "a.sock.state").symlink_to(target)
    with pytest.raises(ShimError, match="cannot keep state"):
        open_state(in_memory / "a.sock.state")
    assert target.read_text() == "precious"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_file_of_another_user_is_refused(in_memory: Path) -> None:
    file = in_memory / "a.sock.state"
    file.touch()
    os.chown(file, 12345, -1)
    with pytest.raises(ShimError):
        open_state(file)


def test_the_identity_tells_interfaces_apart() -> None:
    assert len({identity("a", "b"), identity("b", "a"), identity("ab", ""), identity("a", "c")}) == 4
    assert len(identity("i" * 15, "u" * 15)) < 128
