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
    is_admission_asked = True

    def __init__(self, *_: object) -> None:
        pass

    def __enter__(self) -> FakeStore:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        pass

    def read(self) -> Snapshot:
        empty = Snapshot(0, "", -1, {}, {})
        wanted = Clerk(self.network, self.is_admission_asked).apply(self.network.channels)(empty)
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


def with_channels(file: Path, entries: str, tls: str = "") -> Path:
    file.write_text(f"""{tls}
version: 1
hypervisors: {{left: {{uplink: 100Mbps}}, right: {{uplink: 100Mbps}}}}
vms: {{a: {{hypervisor: left, ip: 10.0.0.1}}, b: {{hypervisor: right, ip: 10.0.0.2}}}}
channels: {{{entries}}}
""")
    return file


ENTRY = "{from: a, to: b, deadline: 5ms, min_rate: 80Mbps, protocol: udp, dst_port: %d, on_miss: [log, adapt]}"


def test_a_channel_is_a_line(store: type[FakeStore], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = with_channels(tmp_path / "net.yaml", f"near: {ENTRY % 7000}")
    store.network = load(file)
    assert main(["export", str(file)]) == 0
    (line,) = [each for each in capsys.readouterr().out.splitlines() if "near" in each]
    assert line.startswith("  near: {from: a, to: b, ") and line.endswith(", protocol: udp, dst_port: 7000}")


def test_a_file_that_is_not_admitted_can_be_exported_all_the_same(
    store: type[FakeStore], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(FakeStore, "is_admission_asked", False)
    file = with_channels(tmp_path / "net.yaml", f"one: {ENTRY % 7000}, two: {ENTRY % 7001}")
    store.network = load(file, is_admission_asked=False)
    assert main(["check", str(file)]) == 1
    assert main(["export", str(file)]) == 0
    assert "  two: {" in capsys.readouterr().out


def test_what_no_file_can_hold_is_not_printed(
    store: type[FakeStore], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = with_channels(tmp_path / "net.yaml", f"near: {ENTRY % 7000}")
    store.network = load(file)
    monkeypatch.setattr("controller.topology_file.source.MAX_BYTES", len(file.read_bytes()))
    assert main(["export", str(file)]) == 1
    out, err = capsys.readouterr()
    assert out == "" and "these 1 channels would be too large" in err


@pytest.mark.parametrize("verb", ["apply", "export"])
def test_certificates_are_only_looked_for_where_they_are_shown(
    verb: str, store: type[FakeStore], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = with_channels(tmp_path / "net.yaml", "", tls="tls: pki")
    store.network = load(file)
    words = [verb, str(file), *(["--dry-run"] if verb == "apply" else [])]
    assert main([*words, "--store", "unix:/run/store.sock"]) == 0
    assert main([*words, "--store", "ssl:10.0.0.1:6641"]) == 2
    assert "store-key.pem does not exist" in capsys.readouterr().err
