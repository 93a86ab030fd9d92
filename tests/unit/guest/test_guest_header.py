"""`rtvnic_guest.h` says what `messages.py` says, and the example compiles without a warning."""

from __future__ import annotations

import re
import struct
import subprocess
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

from guest import messages, signals
from guest.messages import (
    Answer,
    Change,
    Close,
    Kind,
    List,
    ListedChannel,
    Missed,
    Open,
    Renew,
    State,
    Status,
    Subscribe,
)

GUEST = Path(messages.__file__).parent
STRICT = ["gcc", "-std=c11", "-Wall", "-Wextra", "-Werror", "-Wpedantic", "-Wshadow", "-Wstrict-prototypes"]
STRUCTS = {
    "open": Open,
    "renew": Renew,
    "change": Change,
    "close": Close,
    "list": List,
    "subscribe": Subscribe,
    "answer": Answer,
    "listed_channel": ListedChannel,
    "missed": Missed,
}
NUMBERS = {
    **{f"RTVNIC_KIND_{each.name}": each for each in Kind},
    **{f"RTVNIC_STATUS_{each.name}": each for each in Status},
    **{f"RTVNIC_STATE_{each.name}": each for each in State},
    "RTVNIC_SERVICE_PORT": messages.SERVICE_PORT,
    "RTVNIC_VERSION": messages.VERSION,
    "RTVNIC_DATAGRAM_MAX": messages.DATAGRAM_MAX,
    "RTVNIC_REASON_MAX": messages.REASON_MAX,
    "RTVNIC_CHANNELS_MAX": messages.CHANNELS_MAX,
    "RTVNIC_SIGNAL_LATENESS_BITS": signals.LATENESS_BITS,
}
HEADER_FIELDS = ("magic", "version", "kind", "reserved", "nonce")


def offsets(layout: struct.Struct, names: list[str]) -> Iterator[tuple[str, int]]:
    """Where each field of a layout begins."""
    offset = 0
    for token in re.findall(r"\d*[a-zA-Z]", layout.format[1:]):
        count, kind = int(token[:-1] or 1), token[-1]
        for _ in range(1 if kind in "sx" else count):
            if kind != "x":
                yield names.pop(0), offset
            offset += count if kind in "sx" else struct.calcsize("!" + kind)
    assert names == []


def python_offsets() -> dict[str, int]:
    """Of all fields, as C calls them, and of the ends."""
    found = {f"header.{name}": at for name, at in offsets(messages._HEADER, [*HEADER_FIELDS])}
    found["header"] = messages._HEADER.size
    for name, kind in STRUCTS.items():
        names = [each.name for each in fields(kind) if each.name != "reason"]
        found |= {f"{name}.{field}": at for field, at in offsets(kind.layout, names)}
        found[name] = kind.layout.size
    return found


def documented_offsets() -> dict[str, int]:
    """Of the fields in the tables of docs/guests.md, and of the kinds that it gives a size."""
    found: dict[str, int] = {}
    kind = ""
    for line in (GUEST.parent / "docs/guests.md").read_text().splitlines():
        if title := re.match(r"\*\*`?(\w+)`?\*\*(?: \((\d+)\))?", line):
            kind = title[1].lower().replace("listed", "listed_channel")
            if size := re.search(r"\b(\d+) bytes", line):
                found[kind] = int(size[1])
            assert title[2] is None or Kind[title[1]] == int(title[2])
        elif row := re.match(r"\| (\d+) \|(?: \d+)? \| (\w+) \|", line):
            found[f"{kind}.{row[2]}"] = int(row[1])
    return found


def compiled(tmp_path: Path, source: str) -> str:
    """What the program prints."""
    (tmp_path / "program.c").write_text(source)
    program = tmp_path / "program"
    subprocess.run([*STRICT, f"-I{GUEST}", "-o", program, tmp_path / "program.c"], check=True)
    return subprocess.run([program], check=True, capture_output=True, text=True).stdout


def test_the_structs_are_those_of_the_messages(tmp_path: Path) -> None:
    wanted = python_offsets()
    values = []
    for name in wanted:
        of, _, field = name.partition(".")
        values.append(f"offsetof(struct rtvnic_{of}, {field})" if field else f"sizeof(struct rtvnic_{of})")
    prints = "".join(f'    printf("%zu\\n", {value});\n' for value in values)
    source = f'#include <stddef.h>\n#include <stdio.h>\n#include "rtvnic_guest.h"\nint main(void)\n{{\n{prints}}}\n'
    assert dict(zip(wanted, map(int, compiled(tmp_path, source).split()), strict=True)) == wanted


def test_the_documented_tables_are_those_of_the_messages() -> None:
    documented = documented_offsets()
    assert documented.pop("answer.reason") == Answer.layout.size
    wanted = python_offsets()
    assert documented.items() <= wanted.items()
    told = {"header", "open", "answer", "listed_channel", "missed"}
    left_out = {name for name in wanted.keys() - documented.keys() if name.partition(".")[0] in told}
    assert left_out == {"header.reserved"}
    assert {*STRUCTS} <= documented.keys()


def test_the_numbers_are_those_of_the_messages(tmp_path: Path) -> None:
    prints = "".join(f'    printf("%d\\n", {name});\n' for name in NUMBERS)
    texts = '    printf("%s %s %s\\n", RTVNIC_MAGIC, RTVNIC_SERVICE_IPV4, RTVNIC_SERVICE_IPV6);\n'
    source = f'#include <stdio.h>\n#include "rtvnic_guest.h"\nint main(void)\n{{\n{prints}{texts}}}\n'
    *numbers, texts = compiled(tmp_path, source).splitlines()
    assert dict(zip(NUMBERS, map(int, numbers), strict=True)) == NUMBERS
    assert texts.split() == [messages._MAGIC.decode(), str(messages.SERVICE_IPV4), str(messages.SERVICE_IPV6)]


def test_a_number_of_the_header_is_one_of_the_messages() -> None:
    named = set(re.findall(r"^ +(RTVNIC_\w+) =|^#define (RTVNIC_\w+) \d", (GUEST / "rtvnic_guest.h").read_text(), re.M))
    assert {enum or define for enum, define in named} == set(NUMBERS)


def test_a_signals_value_is_read_as_it_was_made(tmp_path: Path) -> None:
    missed = Missed(messages.SERVICE_PORT, 1, 1, 1, 712_345, 0, 0, 0)
    source = f"""#include <stdio.h>
#include "rtvnic_guest.h"
int main(void)
{{
    const void *value = (const void *)UINT64_C({signals.value_of(missed)});
    printf("%u %llu", RTVNIC_SIGNAL_CHANNEL_ID(value), (unsigned long long)RTVNIC_SIGNAL_LATENESS_NS(value));
}}
"""
    assert compiled(tmp_path, source) == f"{missed.channel_id} {missed.worst_ns}"


def test_the_example_compiles_and_says_how_it_is_used(tmp_path: Path) -> None:
    program = tmp_path / "example"
    subprocess.run([*STRICT, "-fsanitize=address,undefined", "-o", program, GUEST / "example.c"], check=True)
    done = subprocess.run([program], capture_output=True, text=True)
    assert done.returncode == 2
    assert "INTERFACE ADDRESS PORT" in done.stderr
