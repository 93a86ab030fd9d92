"""Where tokens are kept: privately, written whole, and looked at again when they change."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from controller.errors import CannotRun
from controller.rest.access import Token, TokenRole, text_of
from controller.rest.token_file import SIZE_MAX, TokenFile, read_tokens, write_tokens

WRITER = Token.of(TokenRole.WRITE, "planner", "secret")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write_tokens(tmp_path / "tokens", [WRITER])
    return tmp_path / "tokens"


def test_it_is_private_from_the_start(path: Path) -> None:
    assert path.stat().st_mode & 0o777 == 0o600
    assert read_tokens(path) == (WRITER,)
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_one_that_others_may_read_is_not_used(path: Path, mode: int) -> None:
    path.chmod(mode)
    with pytest.raises(CannotRun, match=r"others may read or write .*tokens; make it private: chmod 600"):
        TokenFile(path)


def test_one_of_another_user_is_not_used(path: Path) -> None:
    os.chown(path, 4321, 4321)
    with pytest.raises(CannotRun, match="belongs to another user; make it root's: chown root"):
        TokenFile(path)


def test_one_that_is_not_there_says_how_to_make_it(tmp_path: Path) -> None:
    with pytest.raises(CannotRun, match="No such file or directory; make it: rtvnic token add"):
        TokenFile(tmp_path / "none")


def test_what_is_no_file_is_not_used(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    for place in (tmp_path / "pipe", tmp_path):
        with pytest.raises(CannotRun, match="; give the path of a file that may be read"):
            TokenFile(place)


@pytest.mark.parametrize("content", [b"admin me\n", b"\xff\xfe"])
def test_one_in_another_form_is_named(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(CannotRun, match="tokens is not a token file: "):
        TokenFile(path)


def test_a_directory_that_cannot_be_written_is_one_message(tmp_path: Path) -> None:
    with pytest.raises(CannotRun, match=r"cannot write .*; give a path in a directory of yours"):
        write_tokens(tmp_path / "none" / "tokens", [])


def test_what_is_added_and_removed_counts_at_once(path: Path) -> None:
    tokens, other = TokenFile(path), Token.of(TokenRole.READ, "wall", "another")
    assert (tokens.find("secret"), tokens.find("another")) == (WRITER, None)
    write_tokens(path, [other])
    assert (tokens.find("secret"), tokens.find("another")) == (None, other)


def test_one_that_becomes_unusable_has_no_tokens(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    tokens = TokenFile(path)
    path.chmod(0o644)
    assert tokens.find("secret") is None
    assert "no token is accepted: others may read or write" in caplog.text
    path.unlink()
    assert tokens.find("secret") is None
    write_tokens(path, [WRITER])
    assert tokens.find("secret") == WRITER


def test_what_is_beyond_the_largest_size_is_not_read(path: Path) -> None:
    path.write_text("#" * (SIZE_MAX - 1) + "\n" + text_of([WRITER]))
    assert TokenFile(path).find("secret") is None
