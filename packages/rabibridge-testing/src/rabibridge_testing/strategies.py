"""Strategies of hypothesis for the arguments of services, made of their annotations.

They need hypothesis, ``pip install rabibridge-testing[hypothesis]``, and pydantic, which reads limits such as
``Annotated[int, Field(ge=1)]``::

    @given(arguments_of(add))
    def test_add(call):
        args, kwargs = call
        ...
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st

from rabibridge_core._codec.annotation_names import resolved_annotation
from rabibridge_core._services.injection import signature_for_callers
from rabibridge_core.settings.nearest import nearest
from rabibridge_testing._strategies.values import StrategyError, values_at

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["StrategyError", "arguments_of", "values_of"]

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def arguments_of(
    function: Callable[..., Any], /, **given: st.SearchStrategy[Any]
) -> st.SearchStrategy[tuple[tuple[Any, ...], dict[str, Any]]]:
    """Return a strategy for the arguments of calls of a service: pairs ``(args, kwargs)``, as ``remote_call`` takes.

    The values are those that the annotations allow and that travel: texts, numbers, ``bytes``, dates and times,
    ``Decimal``, ``UUID``, ``Literal``, ``Enum``, unions, lists, tuples, sets and maps; dataclasses, pydantic models,
    ``TypedDict`` and ``NamedTuple``. Limits in ``Annotated`` are kept: those of annotated-types, and pydantic's
    ``Field(...)``. Floats are finite. Arguments with a default are left out at times. What the worker fills in by
    itself, such as ``Depends``, is no argument.

    Args:
        function: the function of a service, or anything else that can be one.
        given: strategies for single arguments, by name, in the place of those from annotations.

    Raises:
        StrategyError: an argument has no annotation, or one without values that travel. The text names the argument.
        TypeError: ``given`` names what is no argument.
    """
    signature = signature_for_callers(function)
    for name in given:
        if name not in signature.parameters:
            near = nearest(name, signature.parameters)
            hint = f"did you mean {near!r}?" if near else f"its arguments: {', '.join(signature.parameters) or 'none'}"
            raise TypeError(f"{_name(function)}() has no argument {name!r}: {hint}")
    values = {name: given[name] if name in given else _values(function, name) for name in signature.parameters}
    return _calls(signature, values)


def values_of(annotation: Any) -> st.SearchStrategy[Any]:
    """Return a strategy for values of an annotation, such as one item of an upload; see :func:`arguments_of`.

    Raises:
        StrategyError: it has no values that travel.
    """
    return values_at(annotation, getattr(annotation, "__name__", repr(annotation)))  # type: ignore[no-any-return]


def _name(function: Any) -> str:
    return str(getattr(function, "__name__", type(function).__name__))


def _values(function: Any, name: str) -> st.SearchStrategy[Any]:
    place = f"argument {name!r} of {_name(function)}()"
    annotation = resolved_annotation(function, name)
    if annotation in (inspect.Parameter.empty, Any):
        raise StrategyError(
            f"{place} has no annotation that says what it is; give a strategy for it, as in "
            f"arguments_of({_name(function)}, {name}=strategy)"
        )
    return values_at(annotation, place)  # type: ignore[no-any-return]


@st.composite
def _calls(
    draw: st.DrawFn, signature: inspect.Signature, values: dict[str, st.SearchStrategy[Any]]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    more = True
    for name, parameter in signature.parameters.items():
        if parameter.kind in _POSITIONAL:
            more = more and (parameter.default is parameter.empty or draw(st.booleans()))
            if more:
                args.append(draw(values[name]))
        elif parameter.kind is parameter.VAR_POSITIONAL:
            args += draw(st.lists(values[name])) if more else []
        elif parameter.kind is parameter.KEYWORD_ONLY:
            if parameter.default is parameter.empty or draw(st.booleans()):
                kwargs[name] = draw(values[name])
        else:
            names = st.from_regex(r"[a-z][a-z0-9_]{0,9}", fullmatch=True).filter(lambda one: one not in values)
            kwargs |= draw(st.dictionaries(names, values[name]))
    return tuple(args), kwargs
