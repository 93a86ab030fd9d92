"""Who may ask a controller for what over REST: tokens with a role, and how many writes each caller may make. Pure.

A token file has a line for each token: role, name, and the SHA-256 of the secret, which itself is kept nowhere.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from controller.token_bucket import TokenBucket

WRITES_PER_S = 50.0
WRITES_AT_ONCE = 100
NAME_FORM = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")
_LINE = re.compile(rf"(?P<role>read|write) (?P<name>{NAME_FORM.pattern}) (?P<digest>[0-9a-f]{{64}})")


class TokenRole(StrEnum):
    """`read` sees everything; `write` may change channels too."""

    READ = "read"
    WRITE = "write"


@dataclass(frozen=True)
class Token:
    """What is known of a token: never the secret."""

    role: TokenRole
    name: str
    digest: str

    @classmethod
    def of(cls, role: TokenRole, name: str, secret: str) -> Token:
        return cls(role, name, _digest(secret))


def parse(text: str) -> tuple[Token, ...]:
    """The tokens in the content of a file. Raises ValueError that names the line; empty lines and `#` say nothing."""
    tokens: dict[str, Token] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        found = _LINE.fullmatch(line.strip())
        if found is None:
            raise ValueError(f"line {number} is not 'read|write NAME SHA256'")
        if found["name"] in tokens:
            raise ValueError(f"line {number}: the name '{found['name']}' is there twice")
        tokens[found["name"]] = Token(TokenRole(found["role"]), found["name"], found["digest"])
    return tuple(tokens.values())


def text_of(tokens: Iterable[Token]) -> str:
    """The content of a file with `tokens`."""
    return "".join(f"{token.role} {token.name} {token.digest}\n" for token in tokens)


def token_of(secret: str, tokens: Sequence[Token]) -> Token | None:
    """The token with this secret. All are compared, each in constant time."""
    digest = _digest(secret)
    matching = [token for token in tokens if hmac.compare_digest(token.digest, digest)]
    return matching[0] if matching else None


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


class RateLimit:
    """Lets each caller do `per_s` things a second, and `at_once` after a pause. Not thread-safe."""

    def __init__(self, per_s: float = WRITES_PER_S, at_once: float = WRITES_AT_ONCE) -> None:
        self._per_s = per_s
        self._at_once = at_once
        self._buckets: dict[str, TokenBucket] = {}

    def wait_ns(self, caller: str, now_ns: int) -> int:
        """0 if `caller` may do one more, which then counts; else in how long it may."""
        bucket = self._buckets.setdefault(caller, TokenBucket(self._per_s, self._at_once))
        wait_ns = bucket.wait_ns(now_ns)
        if not wait_ns:
            bucket.take(1, now_ns)
        return wait_ns
