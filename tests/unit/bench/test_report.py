"""The one form in which experiments publish their result."""

from __future__ import annotations

import argparse
import json
from datetime import datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bench.report import Report, Verdict, arguments, publish
from controller.errors import CannotRun

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw(figure: Figure) -> None:
    figure.subplots().bar([0, 1], [2, 3])


def report(*verdicts: Verdict) -> Report:
    return Report("trial", ("what", "found"), [("speed", 12)], {"speed": 12}, verdicts, draw)


def options(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    arguments(parser)
    return parser.parse_args(words)


def test_the_exit_code_is_zero_only_if_all_verdicts_hold() -> None:
    good, bad = Verdict("fast", True), Verdict("cheap", False)
    assert publish(report(good, good), options()) == 0
    assert publish(report(good, bad), options()) == 1


def test_prints_table_and_verdicts(capsys: pytest.CaptureFixture[str]) -> None:
    publish(report(Verdict("fast", True), Verdict("cheap", False)), options())
    assert capsys.readouterr().out == "what   found\nspeed     12\n\nyes  fast\nNO   cheap\n"


def test_json_on_standard_output_stands_alone(capsys: pytest.CaptureFixture[str]) -> None:
    publish(report(Verdict("fast", True)), options("--json", "-"))
    printed = capsys.readouterr()
    content = json.loads(printed.out)
    assert content["figures"] == {"speed": 12}
    assert content["verdicts"] == [{"text": "fast", "holds": True}]
    assert "speed" in printed.err


def test_json_says_what_was_run_and_on_what(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["__main__.py", "bench", "trial", "--seed", "7"])
    publish(report(), argparse.Namespace(json="-", plot=None, seed=7))
    content = json.loads(capsys.readouterr().out)
    assert content["run"]["command"] == "rtvnic bench trial --seed 7" and content["run"]["seed"] == 7
    assert content["run"]["rtvnic"] == version("rtvnic")
    assert datetime.fromisoformat(content["run"]["ended"]).utcoffset() == timedelta(0)
    assert set(content["machine"]) == {"cpu", "cores", "load", "kernel", "openvswitch"}
    assert content["machine"]["cpu"]


def test_what_an_experiment_without_a_seed_says_of_it(capsys: pytest.CaptureFixture[str]) -> None:
    publish(report(), options("--json", "-"))
    assert json.loads(capsys.readouterr().out)["run"]["seed"] is None


def test_writes_json_and_plot(tmp_path: Path) -> None:
    publish(report(), options("--json", str(tmp_path / "out.json"), "--plot", str(tmp_path / "out.png")))
    assert json.loads((tmp_path / "out.json").read_text())["experiment"] == "trial"
    assert (tmp_path / "out.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("option", ["--json", "--plot"])
def test_a_file_that_cannot_be_written_is_said(tmp_path: Path, option: str) -> None:
    with pytest.raises(CannotRun, match="nowhere"):
        publish(report(), options(option, str(tmp_path / "nowhere" / "out.png")))
