"""The checklist: what its lines come from, and how it ends."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from controller.errors import CannotRun
from rtvnic import doctor
from rtvnic.__main__ import main
from rtvnic.doctor import Line, State


def fine(what: str) -> Iterator[Line]:
    yield Line(what, State.FINE, "works")


def poor(what: str) -> Iterator[Line]:
    yield Line(what, State.POOR, "slow", "buy another")


def lacking(what: str) -> Iterator[Line]:
    raise CannotRun("it is not there", "get it")
    yield


def test_poor_is_no_failure(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(doctor, "CHECKS", {"one": fine, "two": poor})
    assert main(["doctor"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "check  state  found  cure",
        "one    fine   works  -",
        "two    poor   slow   buy another",
    ]


def test_what_cannot_be_tried_is_lacking_with_its_cure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(doctor, "CHECKS", {"one": lacking, "two": fine})
    assert main(["doctor", "--json"]) == 1
    assert json.loads(capsys.readouterr().out) == [
        {"what": "one", "state": "lacking", "found": "it is not there", "cure": "get it"},
        {"what": "two", "state": "fine", "found": "works", "cure": ""},
    ]
