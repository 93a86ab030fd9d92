"""The layers of the code: imports go downwards or sideways, and what is low does no I/O.

4 process    starts and joins the parts
3 I/O        sockets, threads, clocks, the kernel
2 messages   what is to be sent or configured, as data
1 rules      what a topology file means
0 words      the vocabulary

A new module of `controller`, `guest` or `ovs_config` gets a line in LEVELS. A package's line holds for all modules in
it that have none of their own.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LEVELS = {
    "controller.errors": 0,
    "controller.handlers.declared": 0,
    "controller.model": 0,
    "controller.units": 0,
    "controller.without_eventlet": 0,
    "guest.errors": 0,
    "guest.messages": 0,
    "guest.units": 0,
    "controller.admission": 1,
    "controller.backoff": 1,
    "controller.clocks": 1,
    "controller.network": 1,
    "controller.rest.access": 1,
    "controller.store": 1,
    "controller.token_bucket": 1,
    "controller.topology_file": 1,
    "controller.clocks.clocks": 2,
    "controller.domain": 2,
    "controller.guests": 2,
    "controller.handlers": 2,
    "controller.openflow.counts": 2,
    "controller.openflow.flows": 2,
    "controller.openflow.frames": 2,
    "controller.openflow.pipeline": 2,
    "controller.openflow.reconcile": 2,
    "controller.peering": 2,
    "controller.rest.metrics": 2,
    "controller.rest.resources": 2,
    "controller.rest.view": 2,
    "guest.session": 2,
    "guest.text": 2,
    "ovs_config.plan": 2,
    "controller.clocks.clock_watch": 3,
    "controller.domain.loop": 3,
    "controller.guests.link": 3,
    "controller.handlers.acts": 3,
    "controller.handlers.build_spawn": 3,
    "controller.handlers.programs": 3,
    "controller.handlers.threads": 3,
    "controller.handlers.webhooks": 3,
    "controller.listeners": 3,
    "controller.logs": 3,
    "controller.notify": 3,
    "controller.openflow": 3,
    "controller.peering.transport": 3,
    "controller.private_file": 3,
    "controller.rest": 3,
    "controller.run_lock": 3,
    "controller.runtime": 3,
    "controller.shim_link": 3,
    "controller.store.client": 3,
    "controller.store.database": 3,
    "controller.store.keeper": 3,
    "controller.store.link": 3,
    "controller.store.server": 3,
    "controller.tls": 3,
    "guest.channel": 3,
    "guest.client": 3,
    "guest.keeper": 3,
    "guest.route": 3,
    "guest.signals": 3,
    "ovs_config.apply": 3,
    "ovs_config.filters": 3,
    "ovs_config.keeper": 3,
    "ovs_config.links": 3,
    "ovs_config.openvswitch": 3,
    "ovs_config.ovsdb": 3,
    "ovs_config.probe": 3,
    "ovs_config.realtime": 3,
    "ovs_config.waiting": 3,
    "controller.launcher": 4,
    "controller.openflow.app": 4,
    "guest.__main__": 4,
    "guest.verbs": 4,
    "topologies": 4,
}
HIGHEST_PURE_LEVEL = 2
IMPURE = {"asyncio", "queue", "select", "selectors", "socket", "subprocess", "threading", "time", "os_ken", "pyroute2"}
STRANGERS = {
    "controller": {"dataplane"},
    "ovs_config": {"dataplane"},
    "dataplane": {"controller", "ovs_config"},
}

LABORATORY = {"bench", "topologies"}
LABORATORY_VERBS = {"rtvnic.bench", "rtvnic.calibrate", "rtvnic.doctor", "rtvnic.down", "rtvnic.up"}
"""These make networks of their own; all others do their work where there is no Mininet."""


def modules(package: str) -> dict[str, Path]:
    """Every module of a top-level package, by its dotted name."""
    files = (ROOT / package).rglob("*.py")
    return {".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): file for file in files}


GUEST = modules("guest")
LEVELLED = modules("controller") | modules("ovs_config") | modules("topologies") | GUEST
VERBS = modules("rtvnic")
ALL = LEVELLED | modules("dataplane") | VERBS


def level(module: str) -> int | None:
    """The level of `module`; None where no line of LEVELS covers it."""
    parts = module.split(".")
    lines = (".".join(parts[:length]) for length in range(len(parts), 0, -1))
    return next((LEVELS[line] for line in lines if line in LEVELS), None)


def imports(module: str) -> Iterator[str]:
    """What `module` imports, wherever in its text; a submodule by its own name."""
    for node in ast.walk(ast.parse(ALL[module].read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 and node.module, f"{module} has a relative import; write the whole name"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in ALL else node.module


@pytest.mark.parametrize("module", LEVELLED)
def test_has_a_level(module: str) -> None:
    is_package_head = "." not in module
    assert is_package_head or level(module) is not None, f"give '{module}' a line in LEVELS of {Path(__file__).name}"


@pytest.mark.parametrize("line", LEVELS)
def test_every_line_names_a_module(line: str) -> None:
    assert line in LEVELLED, f"'{line}' is gone; remove its line from LEVELS of {Path(__file__).name}"


@pytest.mark.parametrize("module", LEVELLED)
def test_imports_nothing_above_itself(module: str) -> None:
    own = level(module)
    above = [name for name in imports(module) if own is not None and (level(name) or 0) > own]
    assert above == [], f"'{module}' (level {own}) imports what is above it"


@pytest.mark.parametrize("module", [name for name in LEVELLED if (level(name) or 0) <= HIGHEST_PURE_LEVEL])
def test_does_no_input_or_output(module: str) -> None:
    assert {name.split(".")[0] for name in imports(module)} & IMPURE == set()


@pytest.mark.parametrize("module", ALL)
def test_the_controller_and_the_data_plane_are_strangers(module: str) -> None:
    strangers = STRANGERS.get(module.split(".")[0], set())
    assert {name.split(".")[0] for name in imports(module)} & strangers == set()


@pytest.mark.parametrize("module", [name for name in VERBS if name not in LABORATORY_VERBS])
def test_what_serves_real_machines_needs_no_test_bed(module: str) -> None:
    assert {name.split(".")[0] for name in imports(module)} & LABORATORY == set()


@pytest.mark.parametrize("module", [name for name in LEVELLED if name not in GUEST])
def test_of_what_runs_in_guests_only_the_messages_are_used(module: str) -> None:
    assert {name for name in imports(module) if name.split(".")[0] == "guest"} <= {"guest.messages"}


@pytest.mark.parametrize("module", GUEST)
def test_a_guest_needs_nothing_but_the_standard_library(module: str) -> None:
    foreign = {name.split(".")[0] for name in imports(module)} - set(sys.stdlib_module_names) - {"guest"}
    assert foreign == set()
