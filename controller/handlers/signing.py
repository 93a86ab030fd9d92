"""How the receiver of a webhook knows who sends, and that it has not heard it before: Standard Webhooks. Pure.

https://www.standardwebhooks.com: a secret is `whsec_` and a key of 24 to 64 bytes in base64; what is signed is the
delivery's id, the time of the try and the body, with HMAC-SHA256.
"""

from __future__ import annotations

import base64
import binascii
import hmac

PREFIX = "whsec_"
KEY_BYTES = range(24, 65)


def key_of(secret: str) -> bytes:
    """The key in the text of a secret. Raises ValueError."""
    if not secret.startswith(PREFIX):
        raise ValueError(f"it does not begin with {PREFIX}")
    try:
        key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except binascii.Error:
        raise ValueError(f"what comes after {PREFIX} is not base64") from None
    if len(key) not in KEY_BYTES:
        raise ValueError(f"its key has {len(key)} bytes, not {KEY_BYTES.start} to {KEY_BYTES.stop - 1}")
    return key


def signed(key: bytes, delivery_id: str, at_s: int, body: bytes) -> dict[str, str]:
    """The headers that go with `body` when it is sent at `at_s` of the wall clock."""
    digest = hmac.digest(key, f"{delivery_id}.{at_s}.".encode() + body, "sha256")
    return {
        "webhook-id": delivery_id,
        "webhook-timestamp": str(at_s),
        "webhook-signature": f"v1,{base64.b64encode(digest).decode()}",
    }
