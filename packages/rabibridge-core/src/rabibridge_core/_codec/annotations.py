"""Restores values by annotations: what msgpack and json deliver as a list or a map becomes what the annotation says.

Pydantic does that, and is imported only for annotations that need it: most results are numbers, texts, lists and dicts
without further types, which arrive as they are.
"""

from __future__ import annotations

import collections.abc
import datetime
import decimal
import functools
import inspect
import types
import typing
import uuid
from typing import Any

from rabibridge_core._codec.annotation_names import result_annotation
from rabibridge_core._codec.arrays import with_arrays
from rabibridge_core.errors import RegistrationError, SerializationError

__all__ = ["ResultAdapter", "announces_items", "item_adapter", "item_annotation", "place_of_error", "result_adapter"]

_AS_THEY_ARE: frozenset[type] = frozenset(
    {
        *(bool, int, float, complex, str, bytes, list, dict, set, frozenset, types.NoneType),
        *(datetime.datetime, datetime.date, datetime.time, datetime.timedelta, decimal.Decimal, uuid.UUID),
    }
)
"""Types whose values arrive as they were sent."""
_UNIONS = (typing.Union, types.UnionType)
_ANYTHING = (Any, object, inspect.Parameter.empty, typing.NoReturn, typing.Never, typing.Self)
_ITEMS = (
    *(collections.abc.AsyncIterator, collections.abc.AsyncIterable, collections.abc.AsyncGenerator),
    *(collections.abc.Iterator, collections.abc.Iterable, collections.abc.Generator),
)
_AWAITABLES = (collections.abc.Awaitable, collections.abc.Coroutine)
_TYPING_MODULES = ("typing", "types", "typing_extensions")
_MOST_STEPS = 20


class ResultAdapter:
    """Checks and converts results by one annotation. It is called with a result, and returns it or another value.

    A value of a type that arrives as it was sent, and that the annotation names, is returned unchanged. Any other is
    converted by pydantic's rules (its lax mode, as with ``validate=True``): a list to a tuple or a ``NamedTuple``, a
    map to a dataclass, a ``TypedDict`` or a model, a value to the member of an ``Enum``, 3 to 3.0 for ``float``. An
    adapter keeps no state between calls and is thread-safe.
    """

    __slots__ = ("_adapter", "annotation", "exact", "name", "what")

    def __init__(self, annotation: Any, name: str = "", what: str = "result") -> None:
        """Prepare to restore values of ``annotation``, whose names are resolved.

        Args:
            annotation: what the values shall be.
            name: the function or service that they come from; used in errors.
            what: what errors call a value.

        Raises:
            RegistrationError: pydantic cannot use the annotation.
        """
        self.annotation = annotation
        self.name = name
        self.what = what
        self.exact = _exact_types(annotation)
        """Types whose values are returned unchanged: who is in a hurry looks here before calling the adapter."""
        self._adapter: Any = None
        if not self.exact:
            self._adapter = self._make_adapter()

    def __repr__(self) -> str:
        """Show the annotation."""
        return f"<ResultAdapter {self.annotation!r}>"

    def __call__(self, value: Any) -> Any:
        """Return the value as the annotation says.

        Raises:
            SerializationError: it does not fit. The text names the place in the value, as in
                ``result.items[3].price``, and not the data.
        """
        if type(value) in self.exact:
            return value
        return self._restore(value)

    def mismatch(self, value: Any) -> str:
        """Return why a function that has the annotation cannot return ``value``, without conversion; empty: it can."""
        if type(value) in self.exact or self.annotation in _ANYTHING:
            return ""
        from pydantic import ValidationError

        try:
            (self._adapter or self._make_adapter()).validate_python(value, strict=True)
        except ValidationError as error:
            return str(error.errors()[0]["msg"])
        return ""

    def _restore(self, value: Any) -> Any:
        from pydantic import ValidationError

        if self._adapter is None:
            self._adapter = self._make_adapter()
        try:
            return self._adapter.validate_python(value)
        except ValidationError as error:
            raise SerializationError(
                f"{self._of()}the {self.what} does not fit its annotation: {place_of_error(error, self.what)}"
            ) from error.with_traceback(None)  # its frames are those of pydantic
        except Exception as error:  # a validator of a user's class may raise anything
            raise SerializationError(
                f"{self._of()}the {self.what} cannot be made what its annotation says: {type(error).__name__}"
            ) from error

    def _make_adapter(self) -> Any:
        from pydantic import TypeAdapter

        try:
            return TypeAdapter(with_arrays(self.annotation))
        except Exception as error:  # pydantic raises several errors, and asks the user's classes, too
            raise RegistrationError(
                f"{self._of()}the annotation of the {self.what}, {self.annotation!r}, is none that pydantic can use: "
                f"{_first_line(error)}"
            ) from error

    def _of(self) -> str:
        return f"{self.name}: " if self.name else ""


def result_adapter(subject: Any, *, name: str | None = None, what: str = "result") -> ResultAdapter | None:
    """Return what restores the results of a function, or values of an annotation.

    Args:
        subject: a function, or anything callable that is not a class; or an annotation, whose names are resolved. The
            result of a function whose annotation is ``Awaitable[R]`` or ``Coroutine[..., R]``, as in protocols, is R.
        name: how errors call the function. ``None`` (the default): its qualified name.
        what: what errors call a value.

    Returns:
        The adapter; ``None`` if every result is returned as it arrives: there is no annotation, or it is ``Any``,
        ``object`` or a type variable without bound.

    Raises:
        RegistrationError: the annotation names something that is not found (the error says what, and in which
            function), or pydantic cannot use it.
    """
    annotation = subject
    if _is_function(subject):
        annotation = result_annotation(subject)
        if typing.get_origin(annotation) in _AWAITABLES:
            annotation = typing.get_args(annotation)[-1]
        if name is None:
            name = getattr(subject, "__qualname__", None) or repr(subject)
    if annotation is None:
        annotation = types.NoneType
    elif annotation is typing.LiteralString:
        annotation = str
    if _is_anything(annotation):
        return None
    return ResultAdapter(annotation, name or "", what)


def item_annotation(annotation: Any) -> Any:
    """Return what the items are of an annotation such as ``AsyncIterator[int]``; ``None`` if it is none of items.

    Any iterator, iterable or generator of :mod:`collections.abc` or :mod:`typing` is one, async or not; a list is not.
    Without arguments, its items are ``Any``.
    """
    origin = typing.get_origin(annotation) or annotation
    if origin not in _ITEMS:
        return None
    arguments = typing.get_args(annotation)
    return arguments[0] if arguments else Any


def announces_items(func: Any) -> bool:
    """Tell whether the annotation of a function says that it gives items one by one, and not a list of them.

    Raises:
        RegistrationError: it names something that is not found.
    """
    annotation = result_annotation(func)
    origin = typing.get_origin(annotation) or annotation
    return origin in _ITEMS and origin is not collections.abc.Iterable


def item_adapter(subject: Any, *, name: str | None = None) -> ResultAdapter | None:
    """Return what restores the items of a function that gives them one by one; see :func:`result_adapter`.

    Raises:
        TypeError: its annotation says that it gives one result.
        RegistrationError: as :func:`result_adapter`.
    """
    annotation = result_annotation(subject)
    if annotation is inspect.Parameter.empty or annotation is Any:
        return None
    item = item_annotation(annotation)
    if item is None:
        raise TypeError(f"the annotation of its result is {annotation!r}")
    if name is None:
        name = getattr(subject, "__qualname__", None) or repr(subject)
    return result_adapter(item, name=name, what="item")


def place_of_error(error: Any, place: str) -> str:
    """Return where a value does not fit its annotation, and why, from a ``pydantic.ValidationError``.

    Args:
        error: the error.
        place: how the value itself is called.
    """
    details = error.errors(include_url=False, include_context=False, include_input=False)
    first = details[0]
    for step in first["loc"][:_MOST_STEPS]:
        place += f".{step}" if isinstance(step, str) and step.isidentifier() else f"[{step!r}]"
    more = f" (and {len(details) - 1} more)" if len(details) > 1 else ""
    return f"{place}: {first['msg']}{more}"


def _is_function(subject: Any) -> bool:
    if isinstance(subject, functools.partial | staticmethod | classmethod) or inspect.isroutine(subject):
        return True
    if isinstance(subject, type) or type(subject).__module__ in _TYPING_MODULES:
        return False
    return callable(subject)


def _is_anything(annotation: Any) -> bool:
    if isinstance(annotation, typing.TypeVar):
        return annotation.__bound__ is None and not annotation.__constraints__
    return any(annotation is each for each in _ANYTHING)


def _exact_types(annotation: Any) -> frozenset[type]:
    """Return the types whose values fit the annotation as they are, if it consists of such types alone."""
    members = typing.get_args(annotation) if typing.get_origin(annotation) in _UNIONS else (annotation,)
    plain = [member for member in members if isinstance(member, type) and member in _AS_THEY_ARE]
    return frozenset(plain) if len(plain) == len(members) else frozenset()


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), "") or type(error).__name__
