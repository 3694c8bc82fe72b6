"""Values of annotations, as RabiBridge carries them: what cannot travel, or is not said, is refused with its place."""

from __future__ import annotations

import collections.abc
import dataclasses
import datetime
import decimal
import enum
import types
import typing
import uuid
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

from hypothesis import strategies as st
from pydantic import BaseModel
from pydantic.errors import PydanticUndefinedAnnotation

from rabibridge_testing._strategies.limits import Limits, LimitUnknownError
from rabibridge_testing._strategies.recursion import Recursion

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["StrategyError", "values_at"]

_UNIONS = (typing.Union, types.UnionType)
_LISTS = (list, collections.abc.Sequence, collections.abc.Iterable, collections.abc.Collection)
_SETS: dict[Any, Any] = {set: st.sets, collections.abc.Set: st.sets, frozenset: st.frozensets}
_MAPS = (dict, collections.abc.Mapping)
_FED = (collections.abc.AsyncIterator, collections.abc.AsyncIterable, collections.abc.Iterator)
_KEYS = (str, bytes)
_EXPONENT = 9999
"""The largest exponent of a Decimal that travels."""

_PLAIN: dict[Any, Callable[[Limits], st.SearchStrategy[Any]]] = {
    bool: lambda limits: st.booleans(),
    int: Limits.integers,
    float: Limits.floats,
    str: Limits.texts,
    bytes: lambda limits: st.binary(**limits.sizes()),
    type(None): lambda limits: st.none(),
    datetime.datetime: lambda limits: limits.between(st.datetimes),
    datetime.date: lambda limits: limits.between(st.dates),
    datetime.time: lambda limits: limits.between(st.times),
    datetime.timedelta: lambda limits: limits.between(st.timedeltas),
    uuid.UUID: lambda limits: st.uuids(),
    decimal.Decimal: lambda limits: limits.between(st.decimals, allow_nan=False, allow_infinity=False).filter(
        lambda number: abs(int(number.as_tuple().exponent)) <= _EXPONENT
    ),
}


class StrategyError(TypeError):
    """There is no strategy for an argument; the text names it, and says what to do."""


def values_at(annotation: Any, place: str, recursion: Recursion | None = None) -> Any:
    """Return a strategy for values of an annotation, whose names are resolved.

    Args:
        annotation: the annotation.
        place: what errors call the value, such as ``order.lines``.
        recursion: what is known of the classes around it; ``None``: there are none.

    Raises:
        StrategyError: there is none.
    """
    return _Values(place, recursion or Recursion()).of(annotation, ())


class _Values:
    """Makes strategies for the values at one place."""

    def __init__(self, place: str, recursion: Recursion) -> None:
        self._place = place
        self._recursion = recursion

    def _refuse(self, what: str) -> NoReturn:
        raise StrategyError(f"{self._place}: {what}; give a strategy for it, as in arguments_of(f, name=strategy)")

    def _at(self, place: str, annotation: Any, metadata: Iterable[Any] = ()) -> st.SearchStrategy[Any]:
        return _Values(f"{self._place}{place}", self._recursion).of(annotation, metadata)

    def of(self, annotation: Any, metadata: Iterable[Any]) -> st.SearchStrategy[Any]:
        """Return the values of an annotation that have the limits in ``metadata``."""
        while type(annotation).__name__ == "TypeAliasType":
            annotation = annotation.__value__
        origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
        if origin is typing.Annotated:
            return self.of(inner[0], (*inner[1:], *metadata))
        if origin in (typing.Required, typing.NotRequired):
            return self.of(inner[0], metadata)
        try:
            limits = Limits.read(metadata)
            if annotation in _PLAIN:
                return limits.kept(_PLAIN[annotation](limits))
            return limits.kept(self._compound(annotation, origin or annotation, inner, limits, metadata))
        except LimitUnknownError as error:
            self._refuse(f"its limit {error} is none that a strategy can keep")

    def _compound(
        self, annotation: Any, origin: Any, inner: tuple[Any, ...], limits: Limits, metadata: Iterable[Any]
    ) -> st.SearchStrategy[Any]:
        if origin is typing.Literal:
            return st.sampled_from(inner)
        if origin in _UNIONS:
            return self._union(inner, metadata)
        if origin in _FED:
            self._refuse("it is fed with items, and not a value: make them of values_of() for one item")
        if isinstance(annotation, typing.TypeVar):
            self._refuse(f"the type variable {annotation} may be anything")
        if origin in (*_LISTS, *_SETS, *_MAPS, tuple):
            return self._container(origin, inner, limits)
        if isinstance(annotation, type):
            return self._object(annotation)
        self._refuse(f"there is no strategy for the annotation {annotation!r}")

    def _container(self, origin: Any, inner: tuple[Any, ...], limits: Limits) -> st.SearchStrategy[Any]:
        if not inner:
            self._refuse(f"the annotation {origin.__name__} does not say what is in it, as {origin.__name__}[int] does")
        if origin is tuple and inner[-1:] != (...,):
            return st.tuples(*(self._at(f"[{at}]", one) for at, one in enumerate(inner)))
        references = self._recursion.references
        make = self._maker(origin, inner)
        if self._recursion.references > references:
            return self._recursion.container(make, limits.sizes())
        return make(**limits.sizes())

    def _maker(self, origin: Any, inner: tuple[Any, ...]) -> Callable[..., st.SearchStrategy[Any]]:
        """Return what makes a strategy of ``min_size`` and ``max_size``."""
        if origin in _MAPS:
            if not _is_key(inner[0]):
                self._refuse(f"maps travel with texts or bytes as keys, and not with {inner[0]!r}")
            return partial(st.dictionaries, self._at(" key", inner[0]), self._at("[...]", inner[1]))
        item = self._at("[...]", inner[0])
        if origin is tuple:
            return lambda **sizes: st.lists(item, **sizes).map(tuple)
        return partial(_SETS.get(origin, st.lists), item)

    def _union(self, inner: tuple[Any, ...], metadata: Iterable[Any]) -> st.SearchStrategy[Any]:
        ending: list[st.SearchStrategy[Any]] = []
        others: list[st.SearchStrategy[Any]] = []
        for one in inner:
            references = self._recursion.references
            values = self.of(one, () if one is type(None) else metadata)
            (others if self._recursion.references > references else ending).append(values)
        return self._recursion.one_of(ending, others) if others else st.one_of(ending)

    def _object(self, cls: type) -> st.SearchStrategy[Any]:
        if issubclass(cls, enum.Enum):
            return st.sampled_from(cls)
        return self._recursion.values_of(cls, lambda: self._made(cls))

    def _made(self, cls: Any) -> st.SearchStrategy[Any]:
        if issubclass(cls, BaseModel):
            try:
                cls.model_rebuild()  # does nothing unless it names what was not there when it was declared
            except PydanticUndefinedAnnotation as error:
                self._refuse(f"the annotations of {cls.__name__} name what is not found: {error}")
            fields = cls.model_fields
            parts = {name: self._at(f".{name}", one.annotation, one.metadata) for name, one in fields.items()}
            return st.fixed_dictionaries(parts).map(lambda values: cls.model_validate(values, by_name=True))
        try:
            hints = typing.get_type_hints(cls, include_extras=True)
        except NameError as error:
            self._refuse(f"the annotations of {cls.__name__} name what is not found: {error}")
        if dataclasses.is_dataclass(cls):
            make: Any = cls
            return st.builds(make, **{
                one.name: self._at(f".{one.name}", hints[one.name]) for one in dataclasses.fields(cls) if one.init
            })  # fmt: skip
        if issubclass(cls, dict) and hasattr(cls, "__required_keys__"):  # also that of typing_extensions
            parts = {name: self._at(f".{name}", hint) for name, hint in hints.items()}
            required: frozenset[str] = getattr(cls, "__required_keys__")  # noqa: B009 - not every dict has it
            return st.fixed_dictionaries(
                {name: parts[name] for name in parts if name in required},
                optional={name: parts[name] for name in parts if name not in required},
            )
        if issubclass(cls, tuple) and hasattr(cls, "_fields"):
            places: tuple[str, ...] = getattr(cls, "_fields")  # noqa: B009 - not every tuple has it
            return st.builds(cls, **{name: self._at(f".{name}", hints.get(name, Any)) for name in places})
        if cls is object:
            self._refuse("the annotation object allows anything")
        self._refuse(f"objects of {cls.__name__} do not travel, or there is no strategy for them")


def _is_key(annotation: Any) -> bool:
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return _is_key(inner[0])
    if origin is typing.Literal:
        return all(isinstance(one, _KEYS) for one in inner)
    if origin in _UNIONS:
        return all(map(_is_key, inner))
    return isinstance(annotation, type) and issubclass(annotation, _KEYS)
