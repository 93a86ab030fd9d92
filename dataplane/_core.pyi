"""The C core as cffi binds it; its types are in core/*.h."""

from typing import Any

ffi: Any
lib: Any
