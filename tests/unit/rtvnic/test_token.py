"""The verb `token`: what it prints, what it keeps, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from controller.rest.access import TokenRole, token_of
from controller.rest.token_file import read_tokens
from rtvnic.__main__ import main


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "tokens"


def test_a_token_is_printed_once_and_only_its_hash_is_kept(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["token", "add", str(file), "planner", "--role", "write"]) == 0
    told = capsys.readouterr()
    secret = told.out.strip()
    assert len(secret) == 43
    assert "cannot be shown again" in told.err
    assert secret not in file.read_text()
    found = token_of(secret, read_tokens(file))
    assert found is not None
    assert (found.name, found.role) == ("planner", TokenRole.WRITE)


def test_who_does_not_say_otherwise_may_only_read(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["token", "add", str(file), "wall"])
    main(["token", "add", str(file), "planner", "--role", "write"])
    capsys.readouterr()
    assert main(["token", "list", str(file)]) == 0
    assert capsys.readouterr().out == "name     role\nwall     read\nplanner  write\n"
    main(["token", "list", str(file), "--json"])
    assert json.loads(capsys.readouterr().out)[0] == {"name": "wall", "role": "read"}


def test_a_removed_token_is_gone(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["token", "add", str(file), "wall"])
    assert main(["token", "remove", str(file), "wall"]) == 0
    capsys.readouterr()
    main(["token", "list", str(file)])
    assert capsys.readouterr().out == "no tokens\n"


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["add", "wall"], 1, "has a token 'wall'; remove it first, or choose another name"),
        (["add", "a b"], 1, "'a b' is not a name; write letters"),
        (["remove", "door"], 1, "has no token 'door'; rtvnic token list says which there are"),
    ],
)
def test_what_is_refused(
    file: Path, capsys: pytest.CaptureFixture[str], words: list[str], code: int, message: str
) -> None:
    main(["token", "add", str(file), "wall"])
    before = file.read_text()
    assert main(["token", words[0], str(file), words[1]]) == code
    assert message in capsys.readouterr().err
    assert file.read_text() == before


def test_a_file_that_is_not_private_is_not_touched(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["token", "add", str(file), "wall"])
    file.chmod(0o644)
    assert main(["token", "add", str(file), "other"]) == 2
    assert "chmod 600" in capsys.readouterr().err


def test_a_file_that_is_not_there(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["token", "list", str(file)]) == 2
    assert "rtvnic token add" in capsys.readouterr().err


def test_a_directory_is_no_file_of_tokens(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["list", str(tmp_path)], ["add", str(tmp_path), "wall"], ["remove", str(tmp_path), "wall"]):
        assert main(["token", *words]) == 2
        assert capsys.readouterr().err == (
            f"cannot read {tmp_path}: Is a directory; give the path of a file that may be read\n"
        )


def test_a_directory_that_cannot_be_looked_into(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["token", "add", str(tmp_path / ("d" * 300) / "tokens"), "wall"]) == 2
    assert capsys.readouterr().err.endswith(": File name too long; be a user who may, or root\n")
