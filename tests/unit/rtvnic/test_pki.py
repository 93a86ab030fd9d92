"""`rtvnic pki`: what it makes, keeps and refuses to write over."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from cryptography import x509

from controller.tls import datapath_name
from rtvnic import authority
from rtvnic.__main__ import main

FILE = """version: 1
tls: pki
hypervisors:
  left: {uplink: {rate: 100Mbps, switch: core}}
  right: {uplink: {rate: 100Mbps, switch: core}, controller: {address: 192.0.2.7}}
switches: {core: ovs, plain: plain}
links: [[core, plain]]
"""
NAMES = [
    "ca",
    "controller-left",
    "controller-right",
    "switch-left",
    "switch-right",
    "switch-core",
    "openvswitch",
    "store",
]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    made = tmp_path / "net.yaml"
    made.write_text(FILE)
    return made


def certificate(file: Path, name: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate((file.parent / "pki" / f"{name}-cert.pem").read_bytes())


def names(file: Path, name: str) -> x509.SubjectAlternativeName:
    return certificate(file, name).extensions.get_extension_for_class(x509.SubjectAlternativeName).value


def contents(directory: Path) -> dict[str, bytes]:
    return {each.name: each.read_bytes() for each in directory.iterdir()}


def test_makes_all_that_a_file_needs(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pki", str(file)]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()[1:]]
    assert rows == [[name, "made"] for name in NAMES]
    kinds = ("cert", "key")
    assert set(contents(file.parent / "pki")) == {f"{name}-{kind}.pem" for name in NAMES for kind in kinds}
    for name in NAMES[1:]:
        certificate(file, name).verify_directly_issued_by(certificate(file, "ca"))


def test_a_switch_is_bound_to_its_datapath_id(file: Path) -> None:
    main(["pki", str(file)])
    uris = {name: names(file, name).get_values_for_type(x509.UniformResourceIdentifier) for name in NAMES[1:]}
    assert uris["switch-left"] == [datapath_name(1)] == ["dpid:0000000000000001"]
    assert uris["switch-core"] == [datapath_name(3)]
    assert uris["openvswitch"] == [datapath_name(number) for number in (1, 2, 3)]
    assert uris["controller-left"] == uris["store"] == []


def test_a_controller_goes_by_its_address(file: Path) -> None:
    main(["pki", str(file)])
    assert [str(each) for each in names(file, "controller-right").get_values_for_type(x509.IPAddress)] == ["192.0.2.7"]


def test_keys_are_for_their_owner_alone(file: Path) -> None:
    main(["pki", str(file)])
    modes = {stat.S_IMODE(each.stat().st_mode) for each in (file.parent / "pki").glob("*-key.pem")}
    assert modes == {0o600}


def test_the_second_time_everything_is_kept(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["pki", str(file)])
    before = contents(file.parent / "pki")
    capsys.readouterr()
    assert main(["pki", str(file)]) == 0
    assert contents(file.parent / "pki") == before
    assert capsys.readouterr().out.count("kept") == len(NAMES)


def test_what_is_missing_is_added(file: Path) -> None:
    main(["pki", str(file)])
    before = contents(file.parent / "pki")
    for kind in ("cert", "key"):
        (file.parent / "pki" / f"store-{kind}.pem").unlink()
    assert main(["pki", str(file)]) == 0
    after = contents(file.parent / "pki")
    assert {name for name in after if after[name] != before[name]} == {"store-cert.pem", "store-key.pem"}


@pytest.mark.parametrize("kind", ["cert", "key"])
def test_half_an_authority_is_no_new_one(file: Path, kind: str) -> None:
    main(["pki", str(file)])
    (file.parent / "pki" / f"ca-{kind}.pem").unlink()
    before = contents(file.parent / "pki")
    assert main(["pki", str(file)]) == 2
    assert contents(file.parent / "pki") == before


def test_another_address_is_refused_until_it_is_to_be_renewed(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["pki", str(file)])
    authority_before = certificate(file, "ca")
    file.write_text(FILE.replace("192.0.2.7", "192.0.2.8"))
    assert main(["pki", str(file)]) == 1
    assert "controller-right-cert.pem is for other names" in capsys.readouterr().err
    assert main(["pki", str(file), "--renew"]) == 0
    assert main(["pki", str(file)]) == 0
    assert certificate(file, "ca") == authority_before


def test_a_certificate_of_another_authority_is_refused(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["pki", str(file)])
    for kind in ("cert", "key"):
        (file.parent / "pki" / f"ca-{kind}.pem").unlink()
    assert main(["pki", str(file)]) == 1
    assert "controller-left-cert.pem is not of the authority" in capsys.readouterr().err


def test_a_key_that_is_not_the_authoritys_is_refused(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["pki", str(file)])
    pki = file.parent / "pki"
    (pki / "ca-key.pem").write_bytes((pki / "store-key.pem").read_bytes())
    before = contents(pki)
    assert main(["pki", str(file), "--renew"]) == 2
    assert f"{pki}/ca-key.pem is not the key of {pki}/ca-cert.pem" in capsys.readouterr().err
    assert contents(pki) == before


def test_an_expired_one_is_refused(
    file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    main(["pki", str(file), "--days", "1"])
    later = authority.datetime.now(authority.UTC) + authority.timedelta(days=2)

    class Later(authority.datetime):  # type: ignore[misc,name-defined]
        @classmethod
        def now(cls, tz: object = None) -> object:
            return later

    monkeypatch.setattr(authority, "datetime", Later)
    assert main(["pki", str(file)]) == 1
    assert "controller-left-cert.pem has expired on " in capsys.readouterr().err


def test_a_key_without_its_certificate_is_not_written_over(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["pki", str(file)])
    (file.parent / "pki" / "store-cert.pem").unlink()
    key = (file.parent / "pki" / "store-key.pem").read_bytes()
    assert main(["pki", str(file)]) == 2
    assert "store-cert.pem: No such file" in capsys.readouterr().err
    assert (file.parent / "pki" / "store-key.pem").read_bytes() == key


def test_rubbish_is_named(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["pki", str(file)])
    (file.parent / "pki" / "ca-key.pem").write_text("rubbish")
    assert main(["pki", str(file)]) == 2
    assert "cannot make certificates: " in capsys.readouterr().err


def test_a_file_without_tls_needs_a_directory(file: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file.write_text("version: 1\nhypervisors: {left: {uplink: 100Mbps}}\n")
    assert main(["pki", str(file)]) == 2
    assert "add 'tls: pki'" in capsys.readouterr().err
    assert main(["pki", str(file), "--into", str(tmp_path / "deep" / "down")]) == 0
    assert (tmp_path / "deep" / "down" / "ca-cert.pem").exists()


def test_where_the_key_of_the_authority_is_not_nothing_is_made(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["pki", str(file)])
    (file.parent / "pki" / "ca-key.pem").unlink()
    before = contents(file.parent / "pki")
    capsys.readouterr()
    assert main(["pki", str(file), "--renew"]) == 2
    err = capsys.readouterr().err
    assert "the authority's key is on another machine" in err and "run it there, and copy the files" in err
    assert contents(file.parent / "pki") == before
