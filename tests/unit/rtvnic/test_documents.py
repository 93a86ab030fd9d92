"""Random documents through the verbs that read one: the answer is yes or no, and no is problems in lines of their own.

RTVNIC_DOCUMENTS says how many; `RTVNIC_DOCUMENTS=10000 pytest tests/unit/rtvnic/test_documents.py` takes some minutes.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from support.documents import documents
from support.examples import FILES

from rtvnic.__main__ import main

COUNT = int(os.environ.get("RTVNIC_DOCUMENTS", "500"))
PROBLEM = re.compile(r"net\.yaml:\d+:\d+: .+")


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("documents") / "net.yaml"


def run(verb: str, file: Path) -> tuple[int, str, str]:
    """The verb's exit code and its words."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main([verb, str(file)])
    return code, out.getvalue(), err.getvalue().replace(f"{file.parent}/", "")


@settings(max_examples=COUNT, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(documents())
@example(FILES[0].read_bytes())
def test_check_and_plan_say_yes_or_no(file: Path, document: bytes) -> None:
    file.write_bytes(document)
    code, out, err = run("check", file)
    if code == 0:
        assert out and not err
    else:
        assert code == 1
        assert all(PROBLEM.fullmatch(line) and line.isprintable() for line in err.splitlines())
    planned, _, _ = run("plan", file)
    assert planned == code


@pytest.mark.parametrize(
    "document",
    [b"", b"\x00", b"\xff\xfe", b"[" * 100_000, b"version: 1\n" * 50_000, "a: 𝟧ms".encode(), FILES[0].read_bytes()],
    ids=["empty", "null", "utf-16", "deep", "doubled", "mathematical", "valid"],
)
def test_the_program_says_yes_or_no(file: Path, document: bytes) -> None:
    file.write_bytes(document)
    ended = subprocess.run([sys.executable, "-m", "rtvnic", "check", file], capture_output=True, text=True, timeout=60)
    assert ended.returncode == (0 if document == FILES[0].read_bytes() else 1)
    assert "Traceback" not in ended.stderr
