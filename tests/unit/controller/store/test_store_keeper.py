"""Who keeps the store goes on when it cannot be started."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.waiting import wait_until

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
    monkeypatch.setattr(keeper, "BACKOFF_S", 0.01)
    made = StoreKeeper(tmp_path)
    made.start()
    wait_until(lambda: made.pid is not None)
    made.stop()
    assert "the store cannot be started: [Errno 11] no process to spare" in caplog.text
