"""What goes to a receiver, and how it knows that it is from us."""

from __future__ import annotations

import base64
import re
from pathlib import Path

import pytest
from support.miss_handlers import SECRET, told

from controller.handlers.facts import environment
from controller.handlers.signing import key_of, signed

PAGE = Path(__file__).parents[4] / "docs/handlers.md"


def test_a_signature_is_that_of_the_standards_own_example() -> None:
    """The example of the reference libraries of Standard Webhooks."""
    headers = signed(key_of(SECRET), "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert headers == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


@pytest.mark.parametrize(
    ("secret", "why"),
    [
        ("", "it does not begin with whsec_"),
        ("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "it does not begin with whsec_"),
        ("whsec_%%%%", "what comes after whsec_ is not base64"),
        (f"whsec_{base64.b64encode(bytes(23)).decode()}", "its key has 23 bytes, not 24 to 64"),
        (f"whsec_{base64.b64encode(bytes(65)).decode()}", "its key has 65 bytes, not 24 to 64"),
    ],
)
def test_what_is_no_secret(secret: str, why: str) -> None:
    with pytest.raises(ValueError, match=re.escape(why)):
        key_of(secret)


def test_a_program_is_told_all_facts_and_little_else() -> None:
    facts = told(misses=3, total_misses=40)
    found = environment(facts)
    assert (found["RTVNIC_CHANNEL"], found["RTVNIC_MISSES"], found["RTVNIC_TOTAL_MISSES"]) == ("video", "3", "40")
    assert found.keys() == {"PATH", "LANG", *(f"RTVNIC_{name.upper()}" for name in facts)}


def test_the_receiver_of_the_documents_takes_ours_and_no_others() -> None:
    """The code that docs/handlers.md gives to those who write a receiver."""
    block = re.search(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert block is not None
    place: dict[str, object] = {}
    exec(block[1], place)
    is_genuine = place["is_genuine"]
    assert callable(is_genuine)
    headers = signed(key_of(SECRET), "msg_1", 1000, b"body")
    assert is_genuine(SECRET, headers, b"body", now_s=1200)
    assert not is_genuine(SECRET, headers, b"bodY", now_s=1200)
    assert not is_genuine(SECRET, headers, b"body", now_s=1400)
    assert not is_genuine(SECRET, {**headers, "webhook-id": "msg_2"}, b"body", now_s=1200)
    assert not is_genuine("whsec_" + base64.b64encode(bytes(24)).decode(), headers, b"body", now_s=1200)
