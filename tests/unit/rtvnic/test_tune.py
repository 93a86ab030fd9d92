"""Tuning changes what differs, says so, and gives everything back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rtvnic import tune
from rtvnic.__main__ import main
from rtvnic.tune import Setting


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with two settings, `runtime` and `governor`."""
    monkeypatch.setattr(tune, "RUN_DIR", tmp_path / "run")
    (tmp_path / "runtime").write_text("950000\n")
    (tmp_path / "governor").write_text("performance\n")
    wanted = [Setting(tmp_path / "runtime", "-1", "why"), Setting(tmp_path / "governor", "performance", "why")]
    monkeypatch.setattr(tune, "settings", lambda: iter(wanted))
    return tmp_path


def test_only_what_differs_is_changed_and_told(machine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tune", "--json"]) == 0
    assert (machine / "runtime").read_text() == "-1"
    assert json.loads(capsys.readouterr().out) == [
        {"file": str(machine / "runtime"), "was": "950000", "is": "-1", "why": "why"}
    ]


def test_a_second_time_changes_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    main(["tune"])
    capsys.readouterr()
    assert main(["tune"]) == 0
    assert capsys.readouterr().out == "all is as it should be\n"


def test_undo_gives_back_what_was_there_before_the_first(machine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["tune"])
    (machine / "runtime").write_text("500000")
    main(["tune"])
    assert main(["tune", "--undo"]) == 0
    assert (machine / "runtime").read_text() == "950000"
    capsys.readouterr()
    assert main(["tune", "--undo"]) == 0
    assert capsys.readouterr().out == "nothing to undo\n"


def test_a_setting_that_cannot_be_written_is_said(machine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (machine / "run").write_text("a file where a directory is needed")
    assert main(["tune"]) == 2
    assert "cannot write" in capsys.readouterr().err
    assert (machine / "runtime").read_text() == "950000\n", "nothing is changed that could not be undone"


def test_a_damaged_memory_is_said(machine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (machine / "run").mkdir()
    (machine / "run" / "tuned.json").write_text("{")
    assert main(["tune", "--undo"]) == 2
    assert "remove the file" in capsys.readouterr().err
