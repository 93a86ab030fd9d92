"""The errors of the shim that are meant for a person."""

from __future__ import annotations


class ShimError(Exception):
    """The shim cannot run, or not any longer. `cure` is what the reader should run or change."""

    def __init__(self, what: str, cure: str) -> None:
        super().__init__(f"{what}; {cure}")
        self.what = what
        self.cure = cure


class RequestError(ValueError):
    """A request on the socket that is refused. The message says which field, what was found and what is allowed."""
