"""A sequence whose items are made when they are asked for, so that a long one takes no memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar, overload

Item_co = TypeVar("Item_co", covariant=True)


class Made(Sequence[Item_co]):
    """Items that are made anew whenever they are asked for.

    Parameters
    ----------
    n_items
        Number of items.
    make
        Makes the item of a number from 0; for equal numbers it makes equal items.

    Examples
    --------
    >>> squares = Made(1_000_000, lambda number: number**2)
    >>> squares[7], squares[-1], list(squares[2:5])
    (49, 999998000001, [4, 9, 16])
    """

    def __init__(self, n_items: int, make: Callable[[int], Item_co]) -> None:
        self._numbers = range(n_items)
        self._make = make

    def __len__(self) -> int:
        """Number of items."""
        return len(self._numbers)

    def __iter__(self) -> Iterator[Item_co]:
        """The items in order. An IndexError of what makes them is raised, and not taken for the end, as `Sequence` does."""
        return map(self._make, self._numbers)

    @overload
    def __getitem__(self, place: int) -> Item_co: ...
    @overload
    def __getitem__(self, place: slice) -> list[Item_co]: ...
    def __getitem__(self, place: int | slice) -> Item_co | list[Item_co]:
        """The item at a place, or those of a slice."""
        if isinstance(place, slice):
            return [self._make(number) for number in self._numbers[place]]
        return self._make(self._numbers[place])
