"""The native modules only; everything else is in setup.cfg."""

from setuptools import setup

setup(
    cffi_modules=[
        "dataplane/build_core.py:ffibuilder",
        "bench/build_traffic.py:ffibuilder",
        "controller/handlers/build_spawn.py:ffibuilder",
    ]
)
