"""The verb `check`: exit codes, and what goes where."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rtvnic.__main__ import main

VALID = "version: 1\nhypervisors: {left: {uplink: 100Mbps}}\n"


@pytest.fixture
def valid(tmp_path: Path) -> str:
    return _written(tmp_path / "valid.yaml", VALID)


@pytest.fixture
def invalid(tmp_path: Path) -> str:
    return _written(tmp_path / "invalid.yaml", "version: 2\nhypervisors: {left: {uplink: 100}}\n")


def _written(file: Path, text: str) -> str:
    file.write_text(text)
    return str(file)


def test_a_valid_file_is_one_line(valid: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", valid]) == 0
    out, err = capsys.readouterr()
    counts = "hypervisors 1, switches 1, links 0, vms 0, classes 7, channels 0"
    assert (out, err) == (f"{valid}: valid ({counts})\n", "")


def test_all_problems_of_all_files_go_to_stderr(valid: str, invalid: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", invalid, valid, invalid.replace("invalid.yaml", "absent.yaml")]) == 2
    out, err = capsys.readouterr()
    assert out.startswith(f"{valid}: valid")
    assert [line.split(": ")[0] for line in err.splitlines()[:2]] == [f"{invalid}:1:10", f"{invalid}:2:30"]
    assert "absent.yaml: No such file or directory" in err.splitlines()[2]


def test_an_invalid_file_is_a_no(invalid: str) -> None:
    assert main(["check", invalid]) == 1


def test_json(valid: str, invalid: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--json", valid, invalid, "/absent.yaml"]) == 2
    first, second, third = json.loads(capsys.readouterr().out)
    assert first == {
        "file": valid,
        "valid": True,
        "counts": {"hypervisors": 1, "switches": 1, "links": 0, "vms": 0, "classes": 7, "channels": 0},
    }
    assert second["valid"] is False
    assert second["problems"][0] == {
        "line": 1,
        "column": 10,
        "path": "version",
        "message": "'2' is not possible here; allowed: 1",
    }
    assert "cannot read /absent.yaml" in third["error"]


def test_schema_is_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--schema"]) == 0
    assert json.loads(capsys.readouterr().out)["title"] == "RTvNIC topology file"


def test_something_must_be_asked(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["check"])
    assert "one of the arguments FILE --schema is required" in capsys.readouterr().err
