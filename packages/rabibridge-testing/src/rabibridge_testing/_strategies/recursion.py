"""Keeps values of recursive classes small: without a limit, hypothesis gives up on most of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["Recursion"]

_DEPTH_MAX: Final = 2
"""How many objects of such classes are within each other."""
_ITEMS_MAX: Final = 2
"""How many such objects are in one list, set or map, unless its limits ask for more."""


class Recursion:
    """What the strategies for one value know of classes that are recursive, directly or through others."""

    def __init__(self) -> None:
        """Begin with no class."""
        self.references = 0
        """How many annotations so far name a class whose own strategy is being made."""
        self._classes: dict[type, st.SearchStrategy[Any]] = {}
        self._being_made: set[type] = set()
        self._depth = 0

    def values_of(self, cls: type, make: Callable[[], st.SearchStrategy[Any]]) -> st.SearchStrategy[Any]:
        """Return the strategy for a class, which ``make`` makes where it is needed first."""
        if cls not in self._classes:
            self._being_made.add(cls)
            self._classes[cls] = st.deferred(lambda: made)
            references = self.references
            found = make()
            made = self._counted(found) if self.references > references else found
            self._being_made.discard(cls)
        elif cls in self._being_made:
            self.references += 1
        return self._classes[cls]

    def _counted(self, values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
        @st.composite
        def counted(draw: st.DrawFn) -> Any:
            self._depth += 1
            try:
                return draw(values)
            finally:
                self._depth -= 1

        return counted()

    def container(self, make: Callable[..., st.SearchStrategy[Any]], sizes: dict[str, Any]) -> st.SearchStrategy[Any]:
        """Return containers of objects of such classes, which get smaller the deeper they are."""
        least, most = sizes["min_size"], sizes["max_size"]

        @st.composite
        def contained(draw: st.DrawFn) -> Any:
            usual = least + (_ITEMS_MAX if self._depth < _DEPTH_MAX else 0)
            return draw(make(min_size=least, max_size=usual if most is None else min(usual, most)))

        return contained()

    def one_of(self, ending: Sequence[st.SearchStrategy[Any]], others: Sequence[st.SearchStrategy[Any]]) -> Any:
        """Return a union's values: deep inside, only of the alternatives that do not lead back to such a class."""

        @st.composite
        def chosen(draw: st.DrawFn) -> Any:
            return draw(st.one_of(*ending, *(others if self._depth < _DEPTH_MAX or not ending else ())))

        return chosen()
