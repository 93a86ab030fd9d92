"""Random documents for whoever reads topology files: files that people could have damaged, or have made to do harm."""

from __future__ import annotations

import re
from collections.abc import Callable

from hypothesis import strategies as st
from support.examples import FILES

FRAGMENTS = [
    *("{", "}", "[", "]", ":", ": ", "- ", ",", "#", "&a ", "*a", "!x ", "!!int ", "|\n", ">-\n", "? ", "'", '"'),
    *("%YAML 9.9\n", "---\n", "...\n", "\n", "\t", "\r", "\x00", "\x1b[2J", "\x85", "\u2028", "\u202e", "\ufeff"),
    *("\ufffe", "\U0001f600", "<<: *a\n", "off", "10:20:30", "010", "0x1f", "1_000", "+5", "-1", "0", "1e400", ".nan"),
    *(".inf", "~", "null", "true", "2026-01-01", "9" * 18, "9" * 5000, "5ms", "5s", "0ns", "200us", "0.000000001ms"),
    *("1kbps", "100Gbps", "999999999999Gbps", "\u0661ms", "10.0.0.1", "10.0.0.1/0", "0.0.0.0", "::", "fe80::1%eth0"),
    *("::ffff:10.0.0.1", "fd00::1/129", "ff:ff:ff:ff:ff:ff", "left", "right", "core", "plain", "ovs", "auto", "fifo"),
    *("queues", "drop", "block", "udp", "tcp", "log", "x" * 5000, "version: 1\n", "version: 2\n", "tls: /\n"),
    *("handlers: {p: {exec: [/bin/true]}}\n", "exec", "webhook", "https://[::1", "on_miss", "adapt", "pager"),
    *("links: [[core, core]]\n", "hosts: {h: {ip: 10.0.0.9}}\n", "classes: {}\n", "[" * 2000, "{a: " * 50),
    "".join(f"a{number}: &a{number} [*a{number - 1}, *a{number - 1}]\n" for number in range(1, 40)),
    "".join(f"k{number}: 1\n" for number in range(300)),
]  # fmt: skip
ENCODINGS = ["utf-8"] * 8 + ["utf-8-sig", "utf-16", "utf-32", "utf-16-le", "latin-1", "utf-7"]
WORD = re.compile(r"[^\s{}\[\],:]+")

Damage = Callable[[str], str]


@st.composite
def damages(draw: st.DrawFn) -> Damage:
    """A change of a text at a random place."""
    at, length = draw(st.floats(0, 1)), draw(st.integers(0, 60))
    fragment = draw(st.sampled_from(FRAGMENTS) | st.text(max_size=8))
    kind = draw(st.sampled_from(["insert", "remove", "cut", "repeat", "word", "word", "word"]))

    def damage(text: str) -> str:
        start = round(at * len(text))
        before, part, after = text[:start], text[start : start + length], text[start + length :]
        if kind == "word" and (found := WORD.search(text, start)):
            return text[: found.start()] + fragment + text[found.end() :]
        return {"remove": before + after, "cut": before, "repeat": before + part + part + after}.get(
            kind, before + fragment + part + after
        )

    return damage


@st.composite
def documents(draw: st.DrawFn) -> bytes:
    """An example file with some damage, or fragments alone; now and then not in UTF-8."""
    text = draw(st.sampled_from([*(file.read_text() for file in FILES), "version: 1\n", ""]))
    for damage in draw(st.lists(damages(), max_size=5)):
        text = damage(text)
    return text.encode(draw(st.sampled_from(ENCODINGS)), "replace") + draw(st.binary(max_size=2) | st.just(b""))
