"""Builds `controller.handlers._spawn`: how a program of a handler is started, bound through cffi in API mode. setup.py
names `ffibuilder`."""

from __future__ import annotations

from pathlib import Path

from cffi import FFI

NATIVE = Path("controller/handlers/native")
"""Relative to the repository's root, where setup.py runs: setuptools wants relative sources."""

HEADER = NATIVE / "spawn.h"

ffibuilder = FFI()
ffibuilder.cdef("\n".join(line for line in HEADER.read_text().splitlines() if not line.startswith("#")))
ffibuilder.set_source(
    "controller.handlers._spawn",
    '#include "spawn.h"',
    sources=[str(NATIVE / "spawn.c")],
    depends=[str(HEADER)],
    include_dirs=[str(NATIVE)],
    define_macros=[("_GNU_SOURCE", None)],
    extra_compile_args=["-std=c11", "-O2", "-Wall", "-Wextra"],
)
