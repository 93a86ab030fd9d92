"""The checklist on this machine, which runs all the other tests: nothing may be lacking. Needs root."""

from __future__ import annotations

import json
import os

import pytest

from dataplane.shim import AHEAD_NS
from rtvnic.__main__ import main
from rtvnic.doctor import CHECKS, State


def test_nothing_is_lacking_where_the_tests_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--json"]) == 0
    lines = json.loads(capsys.readouterr().out)
    assert {line["what"] for line in lines} == set(CHECKS)
    assert all(line["cure"] for line in lines if line["state"] != State.FINE)


def test_calibration_says_what_to_write_into_the_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--calibrate", "--seconds", "1", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["path_ns"]["count"] >= 900 and 0 < found["path_ns"]["p50"] <= found["path_ns"]["p9999"]
    assert len(found["noise_ns"]) == len(os.sched_getaffinity(0))
    longest_ns = AHEAD_NS + max(times["p9999"] for times in (found["path_ns"], *found["noise_ns"].values()))
    assert longest_ns <= found["allowance_ns"] <= 1.01 * longest_ns + 1000
