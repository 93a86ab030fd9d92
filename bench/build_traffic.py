"""Builds `bench._traffic`: the native half of the benchmarks, bound through cffi in API mode. setup.py names
`ffibuilder`.

It compiles the shim's queue once more, so that its cost is measured without Python between."""

from __future__ import annotations

from pathlib import Path

from cffi import FFI

NATIVE = Path("bench/native")
CORE = Path("dataplane/core")
"""Relative to the repository's root, where setup.py runs: setuptools wants relative sources."""

HEADER = NATIVE / "traffic.h"

ffibuilder = FFI()
ffibuilder.cdef("\n".join(line for line in HEADER.read_text().splitlines() if not line.startswith("#")))
ffibuilder.set_source(
    "bench._traffic",
    '#include "traffic.h"',
    sources=[*(str(NATIVE / f"{name}.c") for name in ("forward", "queue_cost", "traffic")), str(CORE / "edf_queue.c")],
    depends=[str(HEADER), str(CORE / "edf_queue.h")],
    include_dirs=[str(NATIVE), str(CORE)],
    define_macros=[("_GNU_SOURCE", None)],
    extra_compile_args=["-std=c11", "-O2", "-Wall", "-Wextra"],
)
