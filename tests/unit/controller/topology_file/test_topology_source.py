"""YAML as text with positions: what stops a file from being read at all, and what is plain data."""

from __future__ import annotations

from typing import Any

import pytest

from controller.errors import PROBLEMS_MAX, InvalidFile
from controller.topology_file.source import MAX_BYTES, Finding, path_text, read


def refusal(content: bytes) -> str:
    with pytest.raises(InvalidFile) as refused:
        read(content, "net.yaml")
    return str(refused.value)


def data(value: str) -> Any:
    return read(f"key: {value}".encode(), "net.yaml").data["key"]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "net.yaml:1:1: the file is empty; it needs at least 'version' and 'hypervisors'"),
        (b"# only a comment\n", "net.yaml:1:1: the file is empty; it needs at least 'version' and 'hypervisors'"),
        (b"- 1", "net.yaml:1:1: the file must be a mapping, such as 'version: 1' on its first line"),
        (b"a: 1\n\xff", "net.yaml:2:1: this is not UTF-8; save the file as UTF-8"),
        ("é: \0".encode(), "net.yaml:1:4: the character U+0000 is not allowed; remove it"),
        (b"a: 1\n---\nb: 2", "net.yaml:2:1: a second document starts here; a file holds one, so remove the '---'"),
        (b"a: 1\n{b: 2}: 3", "net.yaml:2:1: a key must be a plain word"),
        (b"a: &b 1\n*b : 3", "net.yaml:2:1: a key must be a plain word"),
        (b"a: " + b"[" * 20 + b"]" * 20, "net.yaml:1:16: nested too deeply; at most 12 levels"),
        (b"#" * (MAX_BYTES + 1), "net.yaml:1:1: the file is too large; at most 1 MiB"),
    ],
)
def test_stops_with(content: bytes, expected: str) -> None:
    assert refusal(content) == expected


@pytest.mark.parametrize(
    ("content", "position"),
    [
        (b"a: [1\n", "2:1"),
        (b"a: 1\n\tb: 2", "2:1"),
        (b"a: b: c", "1:5"),
        (b"a: %x", "1:4"),
    ],
)
def test_broken_yaml_is_one_problem_where_the_parser_stopped(content: bytes, position: str) -> None:
    message = refusal(content)
    assert message.startswith(f"net.yaml:{position}")
    assert ": not valid YAML: " in message
    assert len(message.splitlines()) == 1


def test_an_unclosed_bracket_is_named_by_where_it_opens() -> None:
    assert " in what begins at 1:4; " in refusal(b"a: [1\n")


def test_nesting_without_end_is_one_problem() -> None:
    assert len(refusal(b"a: " + b"[" * 100_000).splitlines()) == 1


def test_a_syntax_error_does_not_hide_the_problems_before_it() -> None:
    assert [line.split(": ")[0] for line in refusal(b"a: off\nb: c: d").splitlines()] == [
        "net.yaml:1:4",
        "net.yaml:2:5",
    ]


def test_an_alias_bomb_is_refused_without_growing() -> None:
    bomb = "a0: &a0 [x, x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]\n" for i in range(1, 60))
    source = read(bomb.encode(), "net.yaml")
    assert len(source.problems) == 2 * 59
    assert source.data["a59"] == [None, None]


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("5", 5),
        ("-5", -5),
        ("1.50", "1.50"),
        ("1e3", "1e3"),
        ("true", True),
        ("", None),
        ("~", None),
        ("'5'", "5"),
        ("'off'", "off"),
        ("2026-01-01", "2026-01-01"),
        ("02:00:00:00:00:01", "02:00:00:00:00:01"),
        ("fd00::1", "fd00::1"),
        ("9" * 30, "9" * 30),
        ("{a: [1, b]}", {"a": [1, "b"]}),
    ],
)
def test_plain_data(written: str, meant: Any) -> None:
    assert data(written) == meant


def test_a_byte_order_mark_is_skipped() -> None:
    assert read(b"\xef\xbb\xbfa: 1", "net.yaml").data == {"a": 1}


@pytest.mark.parametrize(
    ("finding", "expected"),
    [
        (Finding(("vms", "a"), "m"), "2:3: vms.a: m"),
        (Finding(("vms", "a", "ip"), "m"), "3:5: vms.a.ip: m"),
        (Finding(("vms", "a", "ip", 1), "m"), "3:13: vms.a.ip[1]: m"),
        (Finding(("vms", "a", "mac"), "m"), "4:10: vms.a.mac: m"),
        (Finding(("vms", "a", "mac"), "m", at_key=True), "4:5: vms.a.mac: m"),
        (Finding(("vms", "a", "absent", "deeper"), "m"), "2:3: vms.a: m"),
        (Finding(("absent",), "m"), "1:1: m"),
    ],
)
def test_a_finding_gets_the_position_of_the_nearest_part_in_the_file(finding: Finding, expected: str) -> None:
    source = read(b"vms:\n  a:\n    ip: [x, y]\n    mac: z", "net.yaml")
    assert source.problem(finding).text("net.yaml") == f"net.yaml:{expected}"


def test_a_problem_is_one_printable_line_however_long_the_value() -> None:
    source = read(b"a: 1", "net.yaml")
    message = source.problem(Finding(("a",), "\x1b[31m\n" + "x" * 100_000)).message
    assert message.startswith("\\x1b[31m\\x0a")
    assert len(message) < 500


def test_path_text() -> None:
    assert path_text(("links", 0, 1)) == "links[0][1]"
    assert path_text(()) == ""


def test_of_very_many_problems_the_first_are_told() -> None:
    with pytest.raises(InvalidFile) as refused:
        read(b"a: [" + b"off," * 100_000 + b"]", "net.yaml")
    *told, last = refused.value.problems
    assert [problem.column for problem in told] == [5 + 4 * number for number in range(PROBLEMS_MAX)]
    assert (last.line, last.column, last.message) == (
        1,
        5 + 4 * PROBLEMS_MAX,
        "more problems from here on; mend those before",
    )
