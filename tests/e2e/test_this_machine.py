"""The checklist on this machine, which runs all the other tests: nothing may be lacking. Needs root."""

from __future__ import annotations

import json

import pytest

from rtvnic.__main__ import main
from rtvnic.doctor import CHECKS, State


def test_nothing_is_lacking_where_the_tests_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--json"]) == 0
    lines = json.loads(capsys.readouterr().out)
    assert {line["what"] for line in lines} == set(CHECKS)
    assert all(line["cure"] for line in lines if line["state"] != State.FINE)
