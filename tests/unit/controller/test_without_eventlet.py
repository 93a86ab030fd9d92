"""What is imported in the block does not find eventlet; whoever wants it finds it afterwards."""

from __future__ import annotations

import subprocess
import sys

import pytest

from controller.without_eventlet import without_eventlet


def test_it_is_hidden_while_the_block_lasts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "eventlet", raising=False)
    with without_eventlet(), pytest.raises(ImportError):
        __import__("eventlet")
    assert "eventlet" not in sys.modules


def test_what_has_it_already_keeps_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "eventlet", sys)
    with without_eventlet():
        assert sys.modules["eventlet"] is sys
    assert sys.modules["eventlet"] is sys


def test_a_controller_starts_without_it() -> None:
    program = "import sys, controller.launcher, ovs_config.keeper; sys.exit('eventlet' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
