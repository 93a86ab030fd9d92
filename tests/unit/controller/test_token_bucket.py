"""Token buckets: full at first, emptied, overdrawn, filled again."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from controller.token_bucket import TokenBucket
from controller.units import NS_PER_S

TENTH_NS = NS_PER_S // 10


def emptied(at_ns: int = 0) -> TokenBucket:
    """Of two tokens, and ten a second."""
    bucket = TokenBucket(per_s=10, most=2)
    for _ in range(2):
        assert bucket.wait_ns(at_ns) == 0
        bucket.take(1, at_ns)
    return bucket


def test_what_is_taken_comes_back() -> None:
    bucket = emptied()
    assert bucket.wait_ns(0) == TENTH_NS
    assert bucket.wait_ns(TENTH_NS - 1) == 1
    assert bucket.wait_ns(TENTH_NS) == 0


def test_a_debt_is_paid_off_first() -> None:
    bucket = TokenBucket(per_s=10, most=2)
    bucket.take(12, 0)
    assert bucket.wait_ns(NS_PER_S) == TENTH_NS
    assert bucket.wait_ns(NS_PER_S + TENTH_NS) == 0


def test_what_is_saved_has_an_end() -> None:
    assert emptied(at_ns=100 * NS_PER_S).wait_ns(100 * NS_PER_S) == TENTH_NS


def test_a_bucket_may_fill_slowly() -> None:
    bucket = TokenBucket(per_s=0.5, most=1)
    bucket.take(1, 0)
    assert bucket.wait_ns(NS_PER_S) == NS_PER_S


@given(st.lists(st.integers(0, NS_PER_S // 2), max_size=50))
def test_who_waits_as_told_finds_a_token_and_nobody_more_than_the_rate(pauses: list[int]) -> None:
    bucket, now_ns, taken = TokenBucket(per_s=3, most=2), 0, 0
    for pause in pauses:
        now_ns += pause
        if not bucket.wait_ns(now_ns):
            bucket.take(1, now_ns)
            taken += 1
    assert taken * NS_PER_S <= 2 * NS_PER_S + 3 * now_ns
    assert bucket.wait_ns(now_ns + bucket.wait_ns(now_ns)) == 0
