"""Aligned tables."""

from rtvnic.table import aligned


def test_words_to_the_left_and_numbers_to_the_right() -> None:
    assert aligned(("name", "sent"), [("camera", 5), ("arm", 1200)]) == "name    sent\ncamera     5\narm     1200"


def test_a_column_with_one_word_among_numbers_is_of_words() -> None:
    assert aligned(("n", "state"), [(1, "up"), (2, 17)]) == "n  state\n1  up\n2  17"


def test_units_and_signs_belong_to_numbers_and_addresses_do_not() -> None:
    rows = [("3ms", "-0.5", "10.0.0.1", "1,000"), ("12.25ms", "<0.1", "9.0.0.1", "7 %")]
    assert aligned(("a", "b", "c", "d"), rows).splitlines()[1:] == [
        "    3ms  -0.5  10.0.0.1  1,000",
        "12.25ms  <0.1  9.0.0.1     7 %",
    ]


def test_what_is_not_known_is_a_dash() -> None:
    assert aligned(("ms",), [(1.5,), (None,)]) == " ms\n1.5\n  -"


def test_no_rows() -> None:
    assert aligned(("name", "sent"), []) == "name  sent"
