"""A file that is exported says what the file said, with other channels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import TracebackType

import pytest
from support.examples import FILES, example

from controller.model import Network
from controller.store.decisions import Clerk, digest
from controller.store.records import Snapshot, effective
from controller.topology_file.load import load
from rtvnic.__main__ import main


class FakeStore:
    """Has what the clerk of `network` makes of its channels."""

    network: Network

    def __init__(self, *_: object) -> None:
        pass

    def __enter__(self) -> FakeStore:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        pass

    def read(self) -> Snapshot:
        empty = Snapshot(0, "", -1, {}, {})
        wanted = Clerk(self.network).apply(self.network.channels)(empty)
        change = effective(wanted, empty) if wanted else None
        return replace(empty, records={each.channel.name: each for each in change.put} if change else {})


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[FakeStore]]:
    monkeypatch.setattr("controller.store.client.Store", FakeStore)
    yield FakeStore


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_the_same_network_comes_out(
    file: Path, store: type[FakeStore], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store.network = example(file.stem)
    assert main(["export", str(file)]) == 0
    exported = tmp_path / "exported.yaml"
    exported.write_text(capsys.readouterr().out)
    found = load(exported)
    assert digest(found) == digest(store.network)
    assert found.channels == {name: store.network.channels[name] for name in sorted(store.network.channels)}
