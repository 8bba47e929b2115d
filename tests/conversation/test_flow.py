"""The order of messages, and credit."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ion.conversation.flow import MAX_CREDIT, Order, Place, Window, credit_of


def test_numbers_follow_on_each_other() -> None:
    order = Order()
    places = [order.place(number, f"m{number}") for number in (2, 3, 3, 2, 4, 6, 5)]
    assert [place.value for place in places] == [
        "next", "next", "double", "double", "next", "gap", "next",
    ]  # fmt: skip
    assert order.heard == 5


def test_the_number_of_the_request_and_below_is_a_double() -> None:
    order = Order()
    assert order.place(1, "x") is Place.DOUBLE
    assert order.place(-5, "x") is Place.DOUBLE


def test_a_first_one_too_late_is_a_gap() -> None:
    assert Order().place(3, "x") is Place.GAP


def test_another_first_message_means_that_the_sender_began_again() -> None:
    order = Order()
    order.place(2, "first")
    order.place(3, "second")
    assert order.place(2, "first") is Place.DOUBLE
    assert order.place(2, "another") is Place.AGAIN


@pytest.mark.parametrize("number", [None, "7", 7.0, True, [2], {"a": 1}])
def test_what_is_no_number_is_taken_as_it_comes(number: Any) -> None:
    order = Order()
    assert order.place(number, "x") is Place.NEXT
    assert order.heard == 1


@given(size=st.integers(1, 200), reads=st.lists(st.integers(1, 20), max_size=100))
def test_what_is_on_its_way_or_unread_never_exceeds_the_window(size: int, reads: list[int]) -> None:
    window = Window(size)
    credit, unread = size, 0
    for wanted in reads:
        unread += credit
        for _ in range(credit):
            assert window.take()
        credit = 0
        for _ in range(min(wanted, unread)):
            unread -= 1
            if window.read():
                credit += window.give()
        assert unread + credit + window.owed <= size
        assert unread or credit, "nothing is left to wait for: the stream would stand still"


def test_an_item_without_credit_is_noticed() -> None:
    window = Window(2)
    assert window.take()
    assert window.take()
    assert not window.take()


@pytest.mark.parametrize(
    "value", [None, 0, -1, True, 1.0, "1", [1], MAX_CREDIT + 1, 2**70, float("nan")]
)
def test_no_credit(value: Any) -> None:
    assert credit_of(value) is None


def test_credit() -> None:
    assert credit_of(1) == 1
    assert credit_of(MAX_CREDIT) == MAX_CREDIT
