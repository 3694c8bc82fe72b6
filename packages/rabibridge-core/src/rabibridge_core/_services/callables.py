"""What kinds of callables there are, and which of them can be services.

Everything is looked up statically: on types and in code objects, never by asking an object for an attribute that it may
compute, as lazy proxies and mocks do.
"""

from __future__ import annotations

import functools
import inspect
from types import FunctionType, MethodType
from typing import TYPE_CHECKING, Any

from rabibridge_core.errors import RegistrationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = [
    "is_async",
    "is_generator",
    "is_unbound_method",
    "place_of",
    "refuse_what_cannot_be_served",
    "runs_on_loop",
]


def refuse_what_cannot_be_served(func: Any) -> None:
    """Check that ``func`` can be called.

    Raises:
        RegistrationError: it is not callable, or is a class.
    """
    if isinstance(func, type):
        raise RegistrationError(
            f"{func.__qualname__} is a class, and a service must be a function: register a function, or a method of an "
            "object, as in add_service(MyClass().method)"
        )
    if not callable(func):
        raise RegistrationError(f"{func!r} is not callable: a service must be a function")


def is_async(func: Any) -> bool:
    """Tell whether calling ``func`` gives a coroutine: it is, binds or calls a coroutine function."""
    return any(inspect.iscoroutinefunction(layer) for layer in layers(func))


def runs_on_loop(func: Any) -> bool:
    """Tell whether a service that is ``func`` runs on the event loop: a coroutine or async generator function."""
    return any(inspect.iscoroutinefunction(layer) or inspect.isasyncgenfunction(layer) for layer in layers(func))


def is_generator(func: Any) -> bool:
    """Tell whether calling ``func`` gives a generator, sync or async: a service that is such a function streams."""
    return any(inspect.isasyncgenfunction(layer) or inspect.isgeneratorfunction(layer) for layer in layers(func))


def is_unbound_method(func: Any) -> bool:
    """Tell whether ``func`` is a function from the body of a class that wants an object or class to be called with."""
    if type(func) is not FunctionType:
        return False
    outer, _, _ = func.__qualname__.rpartition(".")
    if not outer or outer.endswith("<locals>"):
        return False
    code = getattr(inspect.unwrap(func), "__code__", None)
    return code is not None and code.co_argcount > 0 and code.co_varnames[0] in ("self", "cls")


def place_of(func: Any) -> str:
    """Return the name of a callable, with file and line if they are known, for error messages."""
    if type(func) is functools.partial:
        return f"functools.partial of {place_of(func.func)}"
    code = getattr(inspect.unwrap(func) if callable(func) else func, "__code__", None)
    name = getattr(func, "__qualname__", None) or repr(func)
    return f"{name} ({code.co_filename}:{code.co_firstlineno})" if code is not None else str(name)


def layers(func: Any) -> Iterator[Callable[..., Any]]:
    """Yield ``func``, and what runs when it is called: the function in a partial, of a method, of a callable object."""
    while True:
        yield func
        if isinstance(func, functools.partial):
            func = func.func
        elif isinstance(func, MethodType):
            func = func.__func__
        elif isinstance(func, FunctionType):
            return
        else:
            func = inspect.getattr_static(type(func), "__call__", None)
            if isinstance(func, staticmethod | classmethod):
                func = func.__func__
            if not isinstance(func, FunctionType):
                return
