"""Finds the types that the annotations of a function name, wherever those names are defined.

Annotations are text under ``from __future__ import annotations``, and in quotes. Their names are looked up in the type
parameters and the closure of the function, in the function around it as long as that one runs, in its module, and in
its class. A name that exists for type checkers only is an error that says which one, and where; the iterators of
``collections.abc`` are known anyway.
"""

from __future__ import annotations

import collections.abc
import functools
import importlib
import inspect
import sys
import typing
from collections import ChainMap
from types import FunctionType, MethodType, SimpleNamespace
from typing import TYPE_CHECKING, Any

from rabibridge_core.errors import RegistrationError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

__all__ = [
    "annotated_function",
    "argument_annotations",
    "raw_annotations",
    "resolved_annotation",
    "result_annotation",
]

_RESULT = "return"
_LOCALS = ".<locals>."
_ITERATORS: dict[str, Any] = {
    each.__name__: each
    for each in (
        *(collections.abc.AsyncIterator, collections.abc.AsyncIterable, collections.abc.AsyncGenerator),
        *(collections.abc.Iterator, collections.abc.Iterable, collections.abc.Generator),
    )
}
"""Found by these names even if a function's module imports them for type checkers only, as linters ask for: the
annotations of functions that stream or are fed would be of no use otherwise."""


def result_annotation(func: Callable[..., Any]) -> Any:
    """Return the annotation of the result of ``func``, resolved; :data:`inspect.Parameter.empty` if there is none.

    The other annotations play no part, and may name what exists for type checkers only.

    Raises:
        RegistrationError: it names something that is not found, or it is no annotation.
    """
    return _resolve(func, [_RESULT]).get(_RESULT, inspect.Parameter.empty)


def argument_annotations(func: Callable[..., Any], *, without: Collection[str] = ()) -> dict[str, Any]:
    """Return the annotations of the arguments of ``func`` but ``without``, resolved, by the names of the arguments.

    The annotation of the result plays no part, and may name what exists for type checkers only.

    Raises:
        RegistrationError: one names something that is not found, or it is no annotation.
    """
    return _resolve(func, [name for name in _raw(annotated_function(func)) if name != _RESULT and name not in without])


def raw_annotations(func: Callable[..., Any]) -> Mapping[str, Any]:
    """Return the annotations of ``func`` as they are: objects, or texts, or with texts in them."""
    return _raw(annotated_function(func))


def resolved_annotation(func: Callable[..., Any], name: str) -> Any:
    """Return one annotation of ``func``, resolved; :data:`inspect.Parameter.empty` if there is none of that name.

    Raises:
        RegistrationError: it names something that is not found, or it is no annotation.
    """
    return _resolve(func, [name]).get(name, inspect.Parameter.empty)


def annotated_function(func: Any) -> Any:
    """Return what holds the annotations of a callable, which may be a partial, a method or an object with __call__."""
    while isinstance(func, functools.partial):
        func = func.func
    if isinstance(func, staticmethod | classmethod):
        return func.__func__
    wraps = inspect.getattr_static(func, "__wrapped__", None) is not None  # as functools.cache does
    return func if wraps or inspect.isroutine(func) else type(func).__call__


def _resolve(func: Callable[..., Any], names: Iterable[str]) -> dict[str, Any]:
    function = annotated_function(func)
    raw, namespace = _raw(function), None
    resolved: dict[str, Any] = {}
    for name in names:
        if name not in raw:
            continue
        if namespace is None:
            namespace = _namespace(function)
        holder = SimpleNamespace(__annotations__={name: raw[name]})
        try:
            resolved[name] = typing.get_type_hints(holder, dict(namespace), include_extras=True)[name]
        except NameError as error:
            raise RegistrationError(
                f"{_place(function)}: the annotation of {_what(name)} names {error.name!r}, which is not found: import "
                "it where the function is defined, outside of 'if TYPE_CHECKING:', and define classes in a module "
                "rather than in a function"
            ) from error
        except Exception as error:
            raise RegistrationError(
                f"{_place(function)}: {raw[name]!r} is no annotation that can be used for {_what(name)}: {error}"
            ) from error
    return resolved


def _raw(function: Any) -> Mapping[str, Any]:
    if sys.version_info >= (3, 14):
        annotationlib = importlib.import_module("annotationlib")
        found: dict[str, Any] = annotationlib.get_annotations(function, format=annotationlib.Format.FORWARDREF)
        # functools.wraps() copies what computes annotations, which there is not for those that were set by hand.
        inner = function.__func__ if isinstance(function, MethodType) else function
        wrapped = inspect.getattr_static(inner, "__wrapped__", None)
        return found if found or wrapped is None else _raw(wrapped)
    return getattr(function, "__annotations__", {})


def _namespace(function: Any) -> Mapping[str, Any]:
    """Return the names that the annotations of a function can use."""
    inner = inspect.unwrap(function.__func__ if isinstance(function, MethodType) else function)
    outer_globals: dict[str, Any] = getattr(function, "__globals__", {})
    if not isinstance(inner, FunctionType):
        return outer_globals
    found: list[dict[str, Any]] = [
        {parameter.__name__: parameter for parameter in getattr(inner, "__type_params__", ())},
        _closure(inner),
    ]
    outer, _, _ = inner.__qualname__.rpartition(".")
    around, _, class_path = outer.rpartition(_LOCALS) if _LOCALS in outer else ("", "", outer)
    if outer.endswith(".<locals>"):
        around, class_path = outer.removesuffix(".<locals>"), ""
    scope = _running(around, inner.__globals__) if around else {}
    nested = _nested_classes(class_path, {**inner.__globals__, **scope})
    return ChainMap(*found, scope, inner.__globals__, outer_globals, nested, _ITERATORS)


def _closure(function: FunctionType) -> dict[str, Any]:
    cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
    return {name: cell.cell_contents for name, cell in cells if _is_filled(cell)}


def _is_filled(cell: Any) -> bool:
    try:
        cell.cell_contents  # noqa: B018 - reading it is the test
    except ValueError:
        return False
    return True


def _running(qualname: str, module_globals: dict[str, Any]) -> dict[str, Any]:
    """Return the local names of the function in which another one was defined, if it has not returned yet."""
    frame = sys._getframe()
    while frame is not None:
        if frame.f_code.co_qualname == qualname and frame.f_globals is module_globals:
            return dict(frame.f_locals)
        frame = frame.f_back  # type: ignore[assignment]
    return {}


def _nested_classes(path: str, names: dict[str, Any]) -> dict[str, Any]:
    """Return the classes in the body of a class. Its methods are left out: one may be called ``list``."""
    inside = names
    for step in path.split(".") if path else ():
        found = inside.get(step)
        if not isinstance(found, type):
            return {}
        inside = dict(vars(found))
    return {name: value for name, value in inside.items() if isinstance(value, type)} if path else {}


def _what(name: str) -> str:
    return "the result" if name == _RESULT else f"the argument {name!r}"


def _place(function: Any) -> str:
    code = getattr(inspect.unwrap(function), "__code__", None)
    name = getattr(function, "__qualname__", None) or repr(function)
    return f"{name} ({code.co_filename}:{code.co_firstlineno})" if code is not None else str(name)
