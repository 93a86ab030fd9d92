"""The domain at each end of a network."""

from __future__ import annotations

import pytest
from support.script import Script, plain


@pytest.fixture
def left() -> Script:
    return Script(plain(), "left")


@pytest.fixture
def right() -> Script:
    return Script(plain(), "right")
