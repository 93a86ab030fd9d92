"""A channel store with a real server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.stores import CLASSES, StoreServer, running

from controller.store.client import Store


@pytest.fixture
def store_server(tmp_path: Path) -> Iterator[StoreServer]:
    with running(tmp_path) as found:
        yield found


@pytest.fixture
def store(store_server: StoreServer) -> Iterator[Store]:
    with Store(store_server.remote, CLASSES) as found:
        yield found
