"""What a function, given to a client in the place of a name, says about the stream to read: its name and its items."""

from __future__ import annotations

from types import MethodType
from typing import Any
from weakref import ref

from rabibridge_core._client.targets import CallTarget, HasTarget, name_of
from rabibridge_core._codec.annotations import announces_items, item_adapter
from rabibridge_core._protocol.naming import check_service_name
from rabibridge_core._services.callables import is_generator, place_of
from rabibridge_core._services.interface import service_of_method
from rabibridge_core._services.marks import is_declaration, marked_names

__all__ = ["HasStreamTarget", "gives_items", "stream_target_of"]

_known: dict[tuple[int, int], tuple[ref[Any], CallTarget]] = {}
"""The targets by the ids of the function and, of a bound method, of its class."""


class HasStreamTarget(HasTarget):
    """Base class of what stands for a service that gives items, and knows which: a stub."""

    __slots__ = ()


def stream_target_of(func: object, name: str | None = None) -> CallTarget:
    """Return the service that ``func`` stands for: a generator function, its name, or a stub; ``adapt`` is for items.

    A function whose body does not matter may stand for one: its annotation says that it gives items, or it has none.

    Args:
        func: the function, a stub, or the name of the service.
        name: the name of the service; ``None``: the one that ``func`` says.

    Raises:
        TypeError: it stands for no service, or for one that returns one result.
        ConfigurationError: no service can have the name.
        RegistrationError: the annotation of its items names something that is not found, or cannot be used.
    """
    if isinstance(func, str):
        return CallTarget(func if name is None else name, "any")
    if isinstance(func, HasStreamTarget):
        return func._target if name is None else func._target._replace(name=check_service_name(name))
    if isinstance(func, HasTarget):
        raise TypeError(f"{func!r} returns one result: call it, or give the function that gives items to client.stream")
    function, owner = _parts(func)
    known = _known.get((id(function), id(owner))) if name is None else None
    if known is not None and known[0]() is function:
        return known[1]
    target = _find(func, name)
    if name is None:
        _keep(function, owner, target)
    return target


def gives_items(func: Any) -> bool:
    """Tell whether a function gives items one by one, so that a stub of it returns a stream.

    It is a generator function, or a mere signature, whose annotation is an async iterable or an iterator. A function
    that is annotated ``Iterable[T]`` may as well return a list.

    Raises:
        RegistrationError: its annotation names something that is not found.
    """
    if isinstance(func, HasStreamTarget) or is_generator(func):
        return True
    if isinstance(func, str | HasTarget) or not callable(func) or isinstance(func, type):
        return False
    if marked_names(func) and not is_declaration(func):
        return False
    return announces_items(func)


def _parts(func: Any) -> tuple[Any, Any]:
    if type(func) is not MethodType:
        return func, None
    holder = func.__self__
    return func.__func__, holder if isinstance(holder, type) else type(holder)


def _keep(function: object, owner: object, target: CallTarget) -> None:
    key = id(function), id(owner)
    try:
        _known[key] = ref(function, lambda _: _known.pop(key, None)), target
    except TypeError:  # an object without weak references is looked at each time
        return


def _find(func: Any, name: str | None) -> CallTarget:
    if isinstance(func, staticmethod):
        func = func.__func__
    found = service_of_method(func) if type(func) is MethodType and name is None else None
    service = name_of(func, name) if found is None else found[0].service_name(found[1])
    try:
        adapt = item_adapter(func)
    except TypeError as error:
        raise TypeError(
            f"{place_of(func)} does not give items one by one: {error}. Use client.call for one result; the annotation "
            "of a generator function is AsyncIterator[T] or Iterator[T]"
        ) from None
    if marked_names(func) and adapt is None and not is_generator(func) and not is_declaration(func):
        raise TypeError(f"{place_of(func)} is no generator function: use client.call for its result")
    return CallTarget(service, "any", adapt)
