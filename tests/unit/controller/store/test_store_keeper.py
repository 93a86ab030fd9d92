"""Who keeps the store goes on when it cannot be started."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.waiting import wait_until

from controller import backoff
from controller.store import keeper
from controller.store.keeper import StoreKeeper


def test_a_store_that_cannot_be_started_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\nexec sleep 60\n")
    program.chmod(0o700)
    popen, refusals = subprocess.Popen, [BlockingIOError(11, "no process to spare")]

    def start(*words: Any, **options: Any) -> Any:
        if refusals:
            raise refusals.pop()
        return popen(*words, **options)

    monkeypatch.setattr(sys, "executable", str(program))
    monkeypatch.setattr(keeper.subprocess, "Popen", start)
    monkeypatch.setattr(backoff, "BACKOFF_S", 0.01)
    made = StoreKeeper(tmp_path)
    made.start()
    wait_until(lambda: made.pid is not None)
    made.stop()
    assert "the store cannot be started: [Errno 11] no process to spare" in caplog.text


def test_a_store_that_has_lasted_is_started_again_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\necho >> starts\n")
    program.chmod(0o700)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "executable", str(program))
    monkeypatch.setattr(backoff, "LASTING_S", 0.0)
    monkeypatch.setattr(backoff, "BACKOFF_S", 3600.0)
    made = StoreKeeper(tmp_path)
    made.start()
    wait_until(lambda: (tmp_path / "starts").exists() and len((tmp_path / "starts").read_text()) > 1)
    made.stop()
