"""Reads the limits in ``Annotated[...]``, of annotated-types and of pydantic, and keeps values within them."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

import annotated_types
from hypothesis import strategies as st
from pydantic import Field, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

__all__ = ["LimitUnknownError", "Limits"]


class LimitUnknownError(Exception):
    """A limit cannot be kept by a strategy; the text is that of its value."""


@dataclass(slots=True)
class Limits:
    """What values of an annotation must be like.

    Attributes:
        ge: the least value; ``None``: none.
        gt: what values are greater than; ``None``: nothing.
        le: the greatest value; ``None``: none.
        lt: what values are less than; ``None``: nothing.
        multiple_of: what values are multiples of; ``None``: nothing.
        min_length: the least length.
        max_length: the greatest length; ``None``: none.
        pattern: the regular expression that a text matches somewhere; ``None``: any.
        predicates: what must be true of a value.
    """

    ge: Any = None
    gt: Any = None
    le: Any = None
    lt: Any = None
    multiple_of: Any = None
    min_length: int = 0
    max_length: int | None = None
    pattern: Any = None
    predicates: list[Callable[[Any], Any]] = field(default_factory=list)

    @classmethod
    def read(cls, metadata: Iterable[Any]) -> Limits:
        """Return the limits in the metadata of an annotation.

        Raises:
            LimitUnknownError: there is one that a strategy cannot keep.
        """
        limits = cls()
        for one in _flat(metadata):
            limits._add(one)
        return limits

    def _add(self, one: Any) -> None:
        if isinstance(one, annotated_types.Predicate):
            self.predicates.append(one.func)
            return
        found = [name for name in _NAMES if getattr(one, name, None) is not None]
        for name in found:
            setattr(self, name, getattr(one, name))
        if not found and not isinstance(one, str | annotated_types.DocInfo) and type(one).__name__ not in _HARMLESS:
            raise LimitUnknownError(repr(one))

    def kept(self, values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
        """Return values of a strategy that satisfy the predicates."""
        for predicate in self.predicates:
            values = values.filter(predicate)
        return values

    def integers(self) -> st.SearchStrategy[int]:
        """Return integers within the limits."""
        step = 1 if self.multiple_of is None else int(self.multiple_of)
        least = None if self.ge is None else math.ceil(self.ge)
        if self.gt is not None:
            least = max(math.floor(self.gt) + 1, math.floor(self.gt) + 1 if least is None else least)
        most = None if self.le is None else math.floor(self.le)
        if self.lt is not None:
            most = min(math.ceil(self.lt) - 1, math.ceil(self.lt) - 1 if most is None else most)
        whole = st.integers(None if least is None else -(-least // step), None if most is None else most // step)
        return whole if step == 1 else whole.map(lambda number: number * step)

    def floats(self) -> st.SearchStrategy[float]:
        """Return finite floats within the limits: JSON has no others."""
        if self.multiple_of is not None:
            raise LimitUnknownError(f"multiple_of={self.multiple_of!r}")
        return st.floats(
            self._least(), self._most(), exclude_min=self.gt is not None, exclude_max=self.lt is not None,
            allow_nan=False, allow_infinity=False,
        )  # fmt: skip

    def between(self, make: Callable[..., st.SearchStrategy[Any]], **options: Any) -> st.SearchStrategy[Any]:
        """Return values that can be compared, such as dates, within the limits."""
        ends = {"min_value": self._least(), "max_value": self._most()}
        values = make(**{name: end for name, end in ends.items() if end is not None}, **options)
        if self.gt is not None:
            values = values.filter(lambda value: value > self.gt)
        if self.lt is not None:
            values = values.filter(lambda value: value < self.lt)
        return values

    def _least(self) -> Any:
        return self.ge if self.gt is None else self.gt

    def _most(self) -> Any:
        return self.le if self.lt is None else self.lt

    def texts(self) -> st.SearchStrategy[str]:
        """Return texts within the limits."""
        if self.pattern is None:
            return st.text(min_size=self.min_length, max_size=self.max_length)
        accepted = TypeAdapter(Annotated[str, Field(pattern=self.pattern)])
        most = math.inf if self.max_length is None else self.max_length

        def is_accepted(text: str) -> bool:
            return self.min_length <= len(text) <= most and _is_valid(accepted, text)

        return st.from_regex(_with_strict_ends(self.pattern)).filter(is_accepted)

    def sizes(self) -> dict[str, Any]:
        """Return the lengths as strategies of containers take them."""
        return {"min_size": self.min_length, "max_size": self.max_length}


_ENDS = re.compile(r"(\\.|\[\^?\]?(?:\\.|[^\]\\])*\])|\$", re.DOTALL)
"""What is escaped or a set of characters, and the dollar signs outside of both."""


def _with_strict_ends(pattern: Any) -> Any:
    """Return a regular expression whose ``$`` means the very end, as for pydantic, and not also before a line break."""
    if isinstance(pattern, str):
        return _ENDS.sub(lambda found: found[1] or r"\Z", pattern)
    return re.compile(_with_strict_ends(pattern.pattern), pattern.flags)


def _is_valid(accepted: TypeAdapter[str], text: str) -> bool:
    try:
        accepted.validate_python(text)
    except ValidationError:
        return False
    return True


_NAMES = ("ge", "gt", "le", "lt", "multiple_of", "min_length", "max_length", "pattern")
_HARMLESS = (
    "Doc",
    "Strict",
    "DeprecatedInfo",
    "PydanticGeneralMetadata",
    "_PydanticGeneralMetadata",
    "Discriminator",
    "WithJsonSchema",
)
"""Metadata that leaves the values as they are."""


def _flat(metadata: Iterable[Any]) -> Iterator[Any]:
    for one in metadata:
        if isinstance(one, FieldInfo):
            yield from _flat(one.metadata)
        elif isinstance(one, annotated_types.GroupedMetadata):
            yield from _flat(one)
        else:
            yield one
