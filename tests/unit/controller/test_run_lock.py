"""One at a time has the marks of a machine."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from controller.errors import CannotRun
from controller.run_lock import held


def test_the_holder_is_named_to_the_next(tmp_path: Path) -> None:
    with held(tmp_path / "run"), pytest.raises(CannotRun, match=f"process {os.getpid()}"), held(tmp_path / "run"):
        pass


def test_it_can_be_held_again_and_leaves_nothing(tmp_path: Path) -> None:
    for _ in range(2):
        with held(tmp_path / "run"):
            assert stat.S_IMODE((tmp_path / "run").stat().st_mode) == 0o700
        assert list(tmp_path.iterdir()) == []


def test_a_file_of_a_killed_run_locks_nobody_out(tmp_path: Path) -> None:
    (tmp_path / "lock").write_text("4711")
    with held(tmp_path):
        assert (tmp_path / "lock").read_text() == str(os.getpid())


def test_what_others_keep_there_stays(tmp_path: Path) -> None:
    (tmp_path / "notes").touch()
    with held(tmp_path):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["notes"]


def test_a_directory_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CannotRun, match="cannot use"), held(tmp_path / "file"):
        pass
