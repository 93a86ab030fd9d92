"""Reads a topology file: either all of it is understood, or every problem in it is listed."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, islice
from pathlib import Path

from controller.admission.advice import with_slacks
from controller.errors import PROBLEMS_MAX, CannotRun, InvalidFile, Problem
from controller.model import Network
from controller.topology_file.build import network
from controller.topology_file.rules import ADMISSION_RULES, FORM_RULES, NETWORK_RULES, Draft
from controller.topology_file.schema import validate
from controller.topology_file.source import MAX_BYTES, Finding, Source, read


def load(file: Path, is_admission_asked: bool = True) -> Network:
    """The network in `file`. Raises InvalidFile with all its problems, CannotRun if it cannot be read at all.

    A file that asks for more than its links can keep is a problem too, where admission is asked.
    """
    return parse(_content(file), file, is_admission_asked)


def load_for(domain: str, file: Path, is_admission_asked: bool = True) -> Network:
    """As `load`, for who is to look after `domain`. Raises CannotRun also if the file has no such hypervisor."""
    network = load(file, is_admission_asked)
    if domain not in network.hypervisors:
        allowed = ", ".join(network.hypervisors)
        raise CannotRun(f"{file} has no hypervisor '{domain}'", f"give one of: {allowed}")
    return network


def load_with_refusals(file: Path) -> tuple[Network, Sequence[Problem]]:
    """The network in `file`, and what of it the links cannot keep. Raises as `load` does."""
    source, network = _valid(_content(file), file)
    try:
        _require_admitted(network, source, file)
    except InvalidFile as error:
        return network, error.problems
    return network, ()


def parse(content: bytes, file: Path, is_admission_asked: bool = True) -> Network:
    """The network in `content`, whatever bytes it is. `file` is its name in messages. Raises InvalidFile."""
    source, result = _valid(content, file)
    if is_admission_asked:
        _require_admitted(result, source, file)
    return result


def _content(file: Path) -> bytes:
    try:
        with file.open("rb") as stream:
            return stream.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise CannotRun(f"cannot read {file}: {reason}", "give the path of a topology file") from None


def _valid(content: bytes, file: Path) -> tuple[Source, Network]:
    """The network, which may ask for more than its links can keep. Raises InvalidFile."""
    source = read(content, str(file))
    form, findings = validate(source.data)
    draft = Draft(form, source.data)
    findings += islice(chain.from_iterable(rule(draft) for rule in FORM_RULES), PROBLEMS_MAX + 1)
    _stop_if_any(findings, source, file)
    result = network(form, file)
    _stop_if_any([finding for rule in NETWORK_RULES for finding in rule(result)], source, file)
    return source, with_slacks(result)


def _require_admitted(found: Network, source: Source, file: Path) -> None:
    _stop_if_any([finding for rule in ADMISSION_RULES for finding in rule(found)], source, file)


def _stop_if_any(findings: list[Finding], source: Source, file: Path) -> None:
    found = [source.problem(finding) for finding in findings if finding.place not in source.refused]
    if problems := source.problems + found:
        raise InvalidFile(str(file), problems)
