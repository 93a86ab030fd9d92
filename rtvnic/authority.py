"""A certificate authority in a directory of PEM files: `ca-cert.pem`, `ca-key.pem`, `NAME-cert.pem`, `NAME-key.pem`.

Keys are on the P-256 curve, and their files are for their owner alone. A file that is there is never written over,
unless that is asked for.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from controller.errors import AnswerIsNo, CannotRun
from controller.model import TlsFiles

AUTHORITY = "ca"
AUTHORITY_DAYS = 3650
CLOCK_ALLOWANCE = timedelta(hours=1)
"""Valid since a while ago, for machines whose clocks are behind."""


class Use(Enum):
    """What a certificate may be used for: to connect, or to be connected to as well."""

    CLIENT = (ExtendedKeyUsageOID.CLIENT_AUTH,)
    BOTH = (ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH)


@dataclass(frozen=True)
class Holder:
    """Somebody who gets a certificate: the name of its files, URIs and IP addresses that it may go by."""

    name: str
    use: Use
    uris: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()


class Authority:
    """The authority in `directory`, made if there is none. Raises CannotRun."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._files = TlsFiles.of(directory, AUTHORITY)
        with _explained():
            directory.mkdir(parents=True, exist_ok=True)
            self.is_new = not (self._files.certificate.exists() or self._files.key.exists())
            if self.is_new:
                self._make()
            self._certificate = _read(self._files.certificate)
            if not self._files.key.exists():
                raise CannotRun(
                    f"{self._files.key} does not exist: the authority's key is on another machine",
                    "run it there, and copy the files",
                )
            self._key = _read_key(self._files.key)
            if self._certificate.public_key() != self._key.public_key():
                raise ValueError(f"{self._files.key} is not the key of {self._files.certificate}")

    def issue(self, holder: Holder, days: int, renews: bool) -> bool:
        """Make the files of `holder`; False: those that there are will do. Raises AnswerIsNo, CannotRun.

        Others that are there are written over only if `renews`; all are, then.
        """
        files = TlsFiles.of(self._directory, holder.name)
        with _explained():
            if not renews and (files.certificate.exists() or files.key.exists()):
                self._check(holder, files)
                return False
            key = ec.generate_private_key(ec.SECP256R1())
            _write_key(files.key, key)
            _write(files.certificate, self._signed(holder, key.public_key(), days))
        return True

    def _make(self) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        name = _name("RTvNIC authority")
        usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
        builder = (
            _builder(name, name, key.public_key(), AUTHORITY_DAYS)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(usage, critical=True)
        )
        _write_key(self._files.key, key)
        _write(self._files.certificate, builder.sign(key, hashes.SHA256()))

    def _signed(self, holder: Holder, key: ec.EllipticCurvePublicKey, days: int) -> x509.Certificate:
        names: list[x509.GeneralName] = [x509.DNSName(holder.name)]
        names += map(x509.UniformResourceIdentifier, holder.uris)
        names += [x509.IPAddress(ip_address(each)) for each in holder.addresses]
        builder = (
            _builder(_name(holder.name), self._certificate.subject, key, days)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage(holder.use.value), critical=False)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(_authority_id(self._key), critical=False)
        )
        return builder.sign(self._key, hashes.SHA256())

    def _check(self, holder: Holder, files: TlsFiles) -> None:
        why = self._unfit(holder, _read(files.certificate), _read_key(files.key))
        if why:
            raise AnswerIsNo(f"{files.certificate} {why}; to make all certificates anew: --renew")

    def _unfit(self, holder: Holder, found: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> str:
        """Why `found` will not do for `holder`; empty if it will."""
        wanted = self._signed(holder, key.public_key(), 1)
        try:
            found.verify_directly_issued_by(self._certificate)
        except (ValueError, TypeError, InvalidSignature):
            return f"is not of the authority {self._files.certificate}"
        if found.public_key() != key.public_key():
            return "is not for the key beside it"
        if found.not_valid_after_utc < datetime.now(UTC):
            return f"has expired on {found.not_valid_after_utc:%Y-%m-%d}"
        if list(found.extensions) != list(wanted.extensions):
            return "is for other names or uses than the topology file wants"
        return ""


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, TypeError) as error:
        where = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) else str(error)
        raise CannotRun(
            f"cannot make certificates: {where}", "give another directory, or remove what is there"
        ) from None


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _authority_id(key: ec.EllipticCurvePrivateKey) -> x509.AuthorityKeyIdentifier:
    return x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key())


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, days: int
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_ALLOWANCE)
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _read(file: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(file.read_bytes())


def _read_key(file: Path) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key(file.read_bytes(), None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError(f"{file} is no key on an elliptic curve")
    return key


def _write(file: Path, certificate: x509.Certificate) -> None:
    _replace(file, certificate.public_bytes(serialization.Encoding.PEM), 0o644)


def _write_key(file: Path, key: ec.EllipticCurvePrivateKey) -> None:
    kind, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    _replace(file, key.private_bytes(serialization.Encoding.PEM, kind, plain), 0o600)


def _replace(file: Path, content: bytes, mode: int) -> None:
    """All of it or nothing, and never readable for more than `mode` says."""
    draft = file.with_suffix(".new")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as stream:
        stream.write(content)
    draft.replace(file)
