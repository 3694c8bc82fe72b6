"""What a function that streams or is fed has in its signature: parameters for items, and ``start_at``."""

from __future__ import annotations

import collections.abc
import functools
import inspect
import re
import typing
from typing import TYPE_CHECKING, Any, Final

from rabibridge_core._codec.annotation_names import raw_annotations
from rabibridge_core._services.callables import is_generator, place_of
from rabibridge_core._services.depends import Dependency
from rabibridge_core.errors import RegistrationError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["START_AT", "check_resumable", "upload_parameters"]

START_AT: Final = "start_at"
"""The parameter of a resumable function that says which item to begin with."""

_ASYNC: Final = (collections.abc.AsyncIterator, collections.abc.AsyncIterable, collections.abc.AsyncGenerator)
_SYNC: Final = (collections.abc.Iterator, collections.abc.Iterable, collections.abc.Generator)
_TEXT: Final = r"(?:\w+\.)*(?:{})(\[.*\])?"
_ASYNC_TEXT: Final = re.compile(_TEXT.format("AsyncIterator|AsyncIterable|AsyncGenerator"), re.DOTALL)
_SYNC_TEXT: Final = re.compile(_TEXT.format("Iterator|Iterable|Generator"), re.DOTALL)
_NAMED: Final = (
    inspect.Parameter.POSITIONAL_ONLY,
    inspect.Parameter.POSITIONAL_OR_KEYWORD,
    inspect.Parameter.KEYWORD_ONLY,
)


def upload_parameters(func: Callable[..., Any], *, on_loop: bool) -> tuple[str, ...]:
    """Return the names of the parameters that callers can feed: those that are annotated as iterators.

    ``AsyncIterator``, ``AsyncIterable`` and ``AsyncGenerator`` count for functions on the event loop, ``Iterator``,
    ``Iterable`` and ``Generator`` for those in threads. Annotations are not resolved: a function may be registered
    before the types of its items exist.
    """
    try:
        parameters = _parameters(func)
    except (TypeError, ValueError):
        return ()  # a built-in function, which has no annotations
    raw = raw_annotations(func)
    return tuple(
        name
        for name, parameter in parameters.items()
        if parameter.kind in _NAMED
        and type(parameter.default) is not Dependency
        and _is_iterator(raw.get(name), on_loop=on_loop)
    )


def _is_iterator(annotation: Any, *, on_loop: bool) -> bool:
    if isinstance(annotation, str):
        found = (_ASYNC_TEXT if on_loop else _SYNC_TEXT).fullmatch(annotation.strip("'\" "))
        return found is not None and _is_one_bracket(found[1] or "[]")
    if typing.get_origin(annotation) is typing.Annotated:
        if any(type(each) is Dependency for each in annotation.__metadata__):
            return False
        annotation = typing.get_args(annotation)[0]
    return (typing.get_origin(annotation) or annotation) in (_ASYNC if on_loop else _SYNC)


def _is_one_bracket(text: str) -> bool:
    """Tell whether the bracket that a text begins with ends with it, and not before, as in ``[int] | list[int]``."""
    depth = 0
    for position, character in enumerate(text):
        depth += (character == "[") - (character == "]")
        if not depth:
            return position == len(text) - 1
    return False


def check_resumable(func: Callable[..., Any]) -> None:
    """Check that a function can begin with any item.

    Raises:
        RegistrationError: it is no generator function, or has no parameter ``start_at``.
    """
    if not is_generator(func):
        raise RegistrationError(
            f"{place_of(func)} is no generator function: resumable=True is for functions that yield their results one "
            "by one"
        )
    found = _parameters(func).get(START_AT)
    if found is None or found.kind not in _NAMED[1:]:
        raise RegistrationError(
            f"{place_of(func)} has no parameter {START_AT!r}: with resumable=True, the server fills it in with the "
            f"index of the first item to yield; add '*, {START_AT}: int' to its parameters"
        )


def _parameters(func: Any) -> typing.Mapping[str, inspect.Parameter]:
    # A partial that update_wrapper() was applied to would show the signature of the whole function.
    return inspect.signature(func, follow_wrapped=not isinstance(func, functools.partial)).parameters
