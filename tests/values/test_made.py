"""A sequence of items that are made when they are asked for is used as any other."""

import pytest

from surveyflow.values.made import Made

SQUARES = Made(5, lambda number: number**2)


def test_items_are_those_of_the_list_that_it_stands_for():
    listed = [0, 1, 4, 9, 16]
    assert (len(SQUARES), list(SQUARES), list(reversed(SQUARES))) == (5, listed, listed[::-1])
    assert (SQUARES[0], SQUARES[-1], SQUARES[1:3], SQUARES[::-2]) == (0, 16, [1, 4], [16, 4, 0])
    assert 9 in SQUARES
    assert not Made(0, lambda number: number)


@pytest.mark.parametrize("place", [5, -6])
def test_there_is_nothing_beyond_its_ends(place):
    with pytest.raises(IndexError):
        SQUARES[place]


def test_an_item_that_cannot_be_made_does_not_end_the_sequence():
    with pytest.raises(IndexError):
        list(Made(3, lambda number: [0, 1][number]))
