"""The native half of the benchmarks as cffi binds it; its types are in native/traffic.h."""

from typing import Any

ffi: Any
lib: Any
