"""What makes the values of parameters that the server fills in."""

from __future__ import annotations

import contextlib
import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from rabibridge_core._services.callables import is_async, layers, place_of

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping

    from rabibridge_core._services.depends import Dependency

__all__ = ["ByType", "Need", "Provider", "key_of"]


@dataclass(frozen=True, slots=True, eq=False)
class ByType:
    """A parameter that gets what the lifespan yields of a type.

    Attributes:
        type: the type.
        what: the parameter, for errors.
    """

    type: type
    what: str


@dataclass(frozen=True, slots=True, eq=False)
class Provider:
    """A provider and what it needs itself.

    Attributes:
        func: the function.
        key: identifies it; equal for two uses of the same function.
        make: makes a value, or, with ``manages``, a context manager that gives one.
        manages: whether it cleans up.
        on_loop: whether it runs on the event loop; otherwise in a thread.
        scope: how long its value lives.
        use_cache: whether several parameters of one call get the same value.
        cleanup_timeout: how long it may clean up, in seconds.
        needs: what its own parameters get, by name.
    """

    func: Callable[..., Any]
    key: Hashable
    make: Callable[..., Any]
    manages: bool
    on_loop: bool
    scope: Literal["call", "process"]
    use_cache: bool
    cleanup_timeout: float
    needs: Mapping[str, Need]

    @classmethod
    def of(cls, mark: Dependency, needs: Mapping[str, Need]) -> Provider:
        """Return the provider of a mark."""
        func = mark.provider
        assert func is not None
        make, manages, on_loop = func, False, False
        if not isinstance(func, type):
            each = list(layers(func))
            if any(inspect.isasyncgenfunction(layer) for layer in each):
                make, manages, on_loop = contextlib.asynccontextmanager(func), True, True
            elif any(inspect.isgeneratorfunction(layer) for layer in each):
                make, manages = contextlib.contextmanager(func), True
            elif any(map(_is_context_manager_function, each)):
                manages = True
                on_loop = any(inspect.isasyncgenfunction(inspect.unwrap(layer)) for layer in each)
            else:
                on_loop = is_async(func)
        return cls(
            func, key_of(func), make, manages, on_loop, mark.scope, mark.use_cache, float(mark.cleanup_timeout), needs
        )

    @property
    def place(self) -> str:
        """Its name, file and line, for errors."""
        return place_of(self.func)


Need: TypeAlias = ByType | Provider


def _is_context_manager_function(func: Any) -> bool:
    """Tell whether ``func`` was made by ``contextlib.asynccontextmanager`` or ``contextlib.contextmanager``."""
    code = getattr(func, "__code__", None)
    return code is not None and code.co_filename == contextlib.__file__ and hasattr(func, "__wrapped__")


def key_of(func: Any) -> Hashable:
    """Return what identifies a function: itself, which is the same for a method that is looked up twice."""
    try:
        hash(func)
    except TypeError:
        return id(func)
    return func  # type: ignore[no-any-return]
