"""How a program is started, as cffi binds it; its types are in native/spawn.h."""

from typing import Any

ffi: Any
lib: Any
