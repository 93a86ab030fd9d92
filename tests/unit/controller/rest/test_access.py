"""Tokens and their file's lines, and how often a caller may write."""

from __future__ import annotations

import pytest

from controller.rest.access import RateLimit, Token, TokenRole, parse, text_of, token_of
from controller.units import NS_PER_S

READER, WRITER = Token.of(TokenRole.READ, "wall", "secret-1"), Token.of(TokenRole.WRITE, "planner", "secret-2")


def test_what_is_written_is_read() -> None:
    assert parse(text_of([READER, WRITER])) == (READER, WRITER)


def test_the_secret_is_in_no_file() -> None:
    assert "secret" not in text_of([READER, WRITER])


def test_a_token_is_found_by_its_secret_alone() -> None:
    assert token_of("secret-2", (READER, WRITER)) == WRITER
    assert [token_of(each, (READER, WRITER)) for each in ("planner", WRITER.digest, "", "secret", "\ud800")] == [
        None
    ] * 5


def test_remarks_and_empty_lines_say_nothing() -> None:
    assert parse(f"# of the wall\n\n{text_of([READER])}") == (READER,)


@pytest.mark.parametrize(
    "line", ["admin me " + "0" * 64, "read me " + "0" * 63, "read " + "0" * 64, "read a/b " + "0" * 64]
)
def test_a_line_that_is_none_is_named(line: str) -> None:
    with pytest.raises(ValueError, match=r"line 2 is not 'read\|write NAME SHA256'"):
        parse(f"# tokens\n{line}\n")


def test_a_name_is_there_once() -> None:
    with pytest.raises(ValueError, match="line 2: the name 'wall' is there twice"):
        parse(text_of([READER]) * 2)


def test_each_caller_has_a_store_of_writes_that_fills_up_again() -> None:
    limit = RateLimit(per_s=10, at_once=3)
    assert [limit.wait_ns("a", 0) for _ in range(4)] == [0, 0, 0, NS_PER_S // 10]
    assert limit.wait_ns("b", 0) == 0, "each has its own"
    assert [limit.wait_ns("a", NS_PER_S // 10) for _ in range(2)] == [0, NS_PER_S // 10]
