"""`rtvnic controller --check`: what a start would lack, and the cure. With Open vSwitch: tests/e2e/test_bridge.py."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from support.fake_shim import FakeShim
from support.http_server import FakeRest, unused_port
from support.miss_handlers import secret_file
from support.stores import running

from controller import runtime
from controller.model import Scheduler
from controller.topology_file.load import load
from rtvnic import preflight
from rtvnic.__main__ import main
from rtvnic.checklist import Line, State, tried
from rtvnic.preflight import Preflight

FILE = """
version: 1
hypervisors:
  left:
    uplink: {{rate: 100Mbps, interface: no-such-1}}
    controller: {{openflow_port: {openflow}, rest_port: {rest}, peering_port: {peering}}}
vms:
  a: {{hypervisor: left, ip: 10.0.0.1, interface: no-such-2}}
  b: {{hypervisor: left, ip: 10.0.0.2, interface: no-such-3}}
channels: {{near: {{from: a, to: b, deadline: 5ms, min_rate: 1Mbps}}}}
"""


def written(directory: Path, **values: object) -> Path:
    file = directory / "net.yaml"
    ports = {name: unused_port() for name in ("openflow", "rest", "peering")}
    file.write_text(FILE.format(**(ports | values)))
    return file


@pytest.fixture(autouse=True)
def nothing_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "RUN_DIR", tmp_path)
    monkeypatch.setattr(preflight, "RUN_DIR", tmp_path)
    monkeypatch.setenv("OVS_RUNDIR", str(tmp_path / "no-ovs"))


def line(
    file: Path, what: str, scheduler: Scheduler = Scheduler.EDF, store: str = "", tokens: Path | None = None
) -> Line:
    (found,) = tried(what, Preflight(load(file).with_scheduler(scheduler), "left", store, tokens).checks()[what])
    assert (found.cure == "") == (found.state is State.FINE), "a cure where there is something to cure"
    return found


def test_the_whole_list_for_programs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = written(tmp_path)
    assert main(["controller", str(file), "--domain", "left", "--check", "--json"]) == 1
    found = {each["what"]: each["state"] for each in json.loads(capsys.readouterr().out)}
    assert found == {
        "topology file": "fine",
        "OpenFlow": "fine",
        "REST": "fine",
        "peering": "fine",
        "interfaces": "lacking",
        "Open vSwitch": "lacking",
        "bridge": "lacking",
        "shim": "poor",
    }


@pytest.mark.parametrize(
    ("text", "domain", "found"),
    [
        ("version: 2\nhypervisors: 5\n", "left", "net.yaml:"),
        (None, "left", "cannot read"),
        (FILE.format(openflow=1, rest=2, peering=3), "right", "has no hypervisor 'right'"),
    ],
)
def test_a_file_that_is_no_good_is_the_only_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str | None, domain: str, found: str
) -> None:
    file = tmp_path / "net.yaml"
    if text is not None:
        file.write_text(text)
    assert main(["controller", str(file), "--domain", domain, "--check"]) == 1
    headers, only, cure = capsys.readouterr().out.splitlines()
    assert headers.split() == ["check", "state", "found"]
    assert only.startswith("topology file  lacking  ") and found in only
    assert cure.strip().startswith("cure: ")


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


@pytest.mark.parametrize(("what", "key"), [("OpenFlow", "openflow"), ("REST", "rest"), ("peering", "peering")])
def test_an_address_that_others_have(tmp_path: Path, taken: int, what: str, key: str) -> None:
    found = line(written(tmp_path, **{key: taken}), what)
    assert found.state is State.LACKING
    assert f"127.0.0.1:{taken}: Address already in use" in found.found


@pytest.mark.parametrize("tls", ["", "tls: pki\n"])
@pytest.mark.parametrize(("domain", "state"), [("left", State.FINE), ("right", State.LACKING)])
def test_an_address_at_which_its_own_controller_listens_is_fine(
    tmp_path: Path, taken: int, domain: str, state: State, tls: str
) -> None:
    file = written(tmp_path, openflow=taken)
    file.write_text(file.read_text() + tls)
    with FakeRest(path=tmp_path / "left.rest.sock") as rest:
        rest.say("/v1/health", {"domain": domain}, status=503)
        assert line(file, "OpenFlow").state is state


@pytest.mark.parametrize("name", ["controller", "switch"])
def test_a_certificate_that_is_missing_is_named(tmp_path: Path, name: str) -> None:
    file = written(tmp_path)
    file.write_text(file.read_text() + "tls: pki\n")
    what = {"controller": "controller's certificate", "switch": "bridge's certificate"}[name]
    key = tmp_path / "pki" / f"{name}-left-key.pem"
    assert line(file, what) == Line(
        what, State.LACKING, f"{key} does not exist", f"make it: rtvnic pki FILE --into {tmp_path / 'pki'}"
    )
    main(["pki", str(file)])
    assert line(file, what).state is State.FINE
    key.unlink()
    assert line(file, what).found == f"{key} does not exist"


@pytest.mark.parametrize(("days", "state"), [(29, State.POOR), (31, State.FINE)])
def test_a_certificate_that_is_about_to_expire_is_poor(tmp_path: Path, days: int, state: State) -> None:
    file = written(tmp_path)
    file.write_text(file.read_text() + "tls: pki\n")
    main(["pki", str(file), "--days", str(days)])
    found = line(file, "controller's certificate")
    assert found.state is state
    assert found.found.startswith(f"{tmp_path / 'pki'}/controller-left-cert.pem is valid until 20")


@pytest.mark.parametrize("what", ["controller", "bridge"])
def test_a_certificate_of_another_authority_is_lacking(tmp_path: Path, what: str) -> None:
    file = written(tmp_path)
    file.write_text(file.read_text() + "tls: pki\n")
    main(["pki", str(file)])
    main(["pki", str(file), "--into", str(tmp_path / "other")])
    (tmp_path / "other/ca-cert.pem").replace(tmp_path / "pki/ca-cert.pem")
    found = line(file, f"{what}'s certificate")
    assert found.state is State.LACKING and "is refused by who trusts" in found.found


def test_the_tokens_are_read(tmp_path: Path) -> None:
    file, tokens = written(tmp_path), tmp_path / "tokens"
    assert line(file, "tokens", tokens=tokens).cure == f"make it: rtvnic token add {tokens} NAME"
    main(["token", "add", str(tokens), "me"])
    assert line(file, "tokens", tokens=tokens) == Line("tokens", State.FINE, f"{tokens} has 1")
    tokens.chmod(0o644)
    assert line(file, "tokens", tokens=tokens).cure == f"make it private: chmod 600 {tokens}"
    tokens.chmod(0o600)
    tokens.write_text("junk\n")
    assert "is not a token file" in line(file, "tokens", tokens=tokens).found


@pytest.mark.parametrize(
    ("store", "found"),
    [
        ("no address", "'no address' is no address of a store"),
        ("ssl:127.0.0.1:6641", "'ssl:127.0.0.1:6641' needs certificates"),
        ("unix:/none.sock", "the store at unix:/none.sock did not answer within 0.2 s"),
    ],
)
def test_a_store_that_cannot_be_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, store: str, found: str) -> None:
    monkeypatch.setattr(preflight, "TIMEOUT_S", 0.2)
    lacks = line(written(tmp_path), "store", store=store)
    assert (lacks.state, lacks.found) == (State.LACKING, found)


@pytest.mark.parametrize("part", ["certificate", "key", "authority"])
def test_a_store_that_cannot_be_had_for_a_damaged_file(tmp_path: Path, part: str) -> None:
    file = written(tmp_path)
    file.write_text(file.read_text() + "tls: pki\n")
    main(["pki", str(file)])
    files = load(file).controller_tls("left")
    assert files is not None
    getattr(files, part).write_text("junk")
    named = files.authority if part == "authority" else files.certificate
    assert line(file, "store", store="ssl:127.0.0.1:6641").found.startswith(f"no use of {named} or its key: ")


def test_a_store_that_answers(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        assert line(written(tmp_path), "store", store=server.remote) == (
            Line("store", State.FINE, f"answers at {server.remote}")
        )


def test_what_a_start_is_given_is_checked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["--store", "no address", "--tokens", str(tmp_path / "none")]
    main(["controller", str(written(tmp_path)), "--domain", "left", "--check", "--json", *given])
    found = {each["what"]: each["state"] for each in json.loads(capsys.readouterr().out)}
    assert (found["store"], found["tokens"]) == ("lacking", "lacking")


def test_a_store_that_other_machines_do_not_know_is_lacking(tmp_path: Path) -> None:
    network = load(written(tmp_path))
    left = network.hypervisors["left"]
    right = replace(left, name="right", controller=replace(left.controller, address="192.0.2.2"))
    both = replace(network, hypervisors={"left": left, "right": right})
    (found,) = tried("one store for all", Preflight(both, "left").checks()["one store for all"])
    assert found.state is State.LACKING and "--store" in found.cure
    assert "one store for all" not in Preflight(both, "left", "ssl:192.0.2.1:6641").checks()


def test_interfaces_that_are_not_there_are_named(tmp_path: Path) -> None:
    found = line(written(tmp_path), "interfaces")
    assert found.state is State.LACKING
    assert found.found == "there is no no-such-1, no-such-2, no-such-3"


def test_a_shim_is_looked_for_at_its_socket(tmp_path: Path) -> None:
    file = written(tmp_path)
    assert line(file, "shim").cure == "systemctl start rtvnic-shim@left"
    with FakeShim(tmp_path / "left.shim.sock"):
        assert line(file, "shim") == Line("shim", State.FINE, f"serves {tmp_path}/left.shim.sock")


def test_what_misses_start_is_looked_at(tmp_path: Path) -> None:
    secret = secret_file(tmp_path)
    file = written(tmp_path)
    handlers = f"""handlers:
  pager: {{exec: [/bin/true, -x]}}
  gone: {{exec: [{tmp_path}/none]}}
  board: {{webhook: "https://example.org/", secret: {secret}}}
"""
    file.write_text(file.read_text() + handlers)
    assert line(file, "handler pager").found == "/bin/true is there, for nobody to run"
    assert line(file, "handler gone").found == f"there is no program {tmp_path}/none"
    assert line(file, "handler board").found == f"{secret} has the secret for https://example.org/"
    secret.chmod(0o644)
    assert line(file, "handler board").cure == f"make it private: chmod 600 {secret}"


def test_no_shim_is_missed_where_none_is_asked_for(tmp_path: Path) -> None:
    assert line(written(tmp_path), "shim", Scheduler.QUEUES).state is State.FINE
