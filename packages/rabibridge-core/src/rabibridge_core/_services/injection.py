"""Reads from signatures which parameters of a function the server fills in, and with what.

That is done once, when a service is added: whatever is wrong with a provider is an error there, and not in the first
call.
"""

from __future__ import annotations

import functools
import inspect
import typing
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from rabibridge_core._codec.annotation_names import raw_annotations, resolved_annotation
from rabibridge_core._services.callables import is_unbound_method, place_of
from rabibridge_core._services.depends import Dependency
from rabibridge_core._services.providers import ByType, Provider
from rabibridge_core.errors import RegistrationError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from rabibridge_core._services.providers import Need

__all__ = ["Injections", "injections_of", "longer_lived", "provider_of", "signature_for_callers"]

_KEYWORDS = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
_POSITIONAL = (
    inspect.Parameter.POSITIONAL_ONLY,
    inspect.Parameter.POSITIONAL_OR_KEYWORD,
    inspect.Parameter.VAR_POSITIONAL,
)
_NONE: Mapping[str, Dependency] = MappingProxyType({})
_VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


@dataclass(frozen=True, slots=True, eq=False)
class Injections:
    """The parameters of a function that the server fills in.

    Attributes:
        needs: what they get, by name.
        signature: the parameters that callers give.
    """

    needs: Mapping[str, Need]
    signature: inspect.Signature = field(repr=False)


def injections_of(func: Callable[..., Any], *, filled: Mapping[str, Dependency] = _NONE) -> Injections | None:
    """Return which parameters of ``func`` the server fills in; ``None``: there are none.

    Args:
        func: the function.
        filled: parameters without a mark that the server fills in, with the marks that they get.

    Raises:
        RegistrationError: a parameter cannot be filled in, or a provider cannot be used.
    """
    try:
        signature = _signature(func)
    except (TypeError, ValueError):
        return None  # a built-in function, which has no marks
    needs = _needs(func, signature, (), filled)
    if not needs:
        return None
    parameters = [parameter for name, parameter in signature.parameters.items() if name not in needs]
    return Injections(needs, signature.replace(parameters=parameters))


def signature_for_callers(func: Callable[..., Any]) -> inspect.Signature:
    """Return the signature of ``func`` without what callers do not give: what the server fills in, and ``self``.

    Providers are not looked at, as callers need not have them.

    Raises:
        TypeError: ``func`` has no signature.
        ValueError: the same, for some built-in functions.
        RegistrationError: an annotation with Depends names something that is not found.
    """
    signature = _signature(func)
    parameters = list(signature.parameters.values())
    if is_unbound_method(func):
        del parameters[0]
    return signature.replace(parameters=[each for each in parameters if _mark_of(func, each) is None])


def provider_of(mark: Dependency, what: str, path: tuple[Any, ...] = ()) -> Provider:
    """Return the provider of a mark, with everything that it needs itself.

    Args:
        mark: names a provider.
        what: the parameter that needs it, for errors.
        path: the providers that need it.

    Raises:
        RegistrationError: it cannot be used.
    """
    func = mark.provider
    assert func is not None
    if any(func is other for other in path):
        raise RegistrationError(f"{what}: the provider {place_of(func)} needs itself")
    try:
        signature = _signature(func)
    except (TypeError, ValueError):
        signature = inspect.Signature()  # a class or function of an extension module, which is called without arguments
    needs = _needs(func, signature, (*path, func))
    for name, parameter in signature.parameters.items():
        if name in needs or parameter.kind in _VARIADIC or parameter.default is not inspect.Parameter.empty:
            continue
        raise RegistrationError(
            f"{what}: the argument {name!r} of its provider {place_of(func)} has no default and no Depends: a provider "
            "gets nothing from the caller. Give it with functools.partial, or read current_call() in the provider"
        )
    for name, need in needs.items():
        if mark.scope == "process" and isinstance(need, Provider) and need.scope == "call":
            raise RegistrationError(
                f"{what}: the provider {place_of(func)} lives as long as the process, and its argument {name!r} only "
                f"as long as a call: give {place_of(need.func)} scope='process', too"
            )
    return Provider.of(mark, needs)


def longer_lived(needs: Mapping[str, Need]) -> list[str]:
    """Return the names of those parameters whose values live longer than a call, or need one that does."""
    return [
        name
        for name, need in needs.items()
        if isinstance(need, ByType) or need.scope == "process" or longer_lived(need.needs)
    ]


def _needs(
    func: Any, signature: inspect.Signature, path: tuple[Any, ...], filled: Mapping[str, Dependency] = _NONE
) -> dict[str, Need]:
    given = _given_by_partial(func)
    needs: dict[str, Need] = {}
    for name, parameter in signature.parameters.items():
        mark = filled.get(name) or (None if name in given else _mark_of(func, parameter))
        what = f"the argument {name!r} of {place_of(func)}"
        if mark is None:
            if needs and not path and parameter.kind in _POSITIONAL:
                raise RegistrationError(
                    f"{place_of(func)}: the argument {name!r}, which callers give, comes after "
                    f"{', '.join(map(repr, needs))}, which the server fills in: put those last, or after a '*'"
                )
            continue
        if parameter.kind not in _KEYWORDS:
            raise RegistrationError(f"{what} cannot be filled in: Depends needs a parameter that has a name to callers")
        needs[name] = _by_type(func, name, what) if mark.provider is None else provider_of(mark, what, path)
    return needs


def _mark_of(func: Any, parameter: inspect.Parameter) -> Dependency | None:
    marks = [parameter.default] if type(parameter.default) is Dependency else []
    raw = raw_annotations(func).get(parameter.name)
    if raw is not None and not (marks and marks[0].provider is not None):
        marks += _marks_in(func, parameter.name, raw)
    if len(marks) > 1:
        raise RegistrationError(
            f"the argument {parameter.name!r} of {place_of(func)} has {len(marks)} Depends: give it one"
        )
    return marks[0] if marks else None


def _marks_in(func: Any, name: str, raw: Any) -> list[Dependency]:
    """Return the marks in an annotation, which may be a text with names that are not found."""
    if isinstance(raw, type):
        return []
    try:
        annotation = resolved_annotation(func, name)
    except RegistrationError:
        if "Depends" in str(raw) or "Dependency" in repr(raw):
            raise
        return []  # an argument of the caller, whose annotation nobody needs
    metadata = getattr(annotation, "__metadata__", ())
    return [each for each in metadata if type(each) is Dependency]


def _by_type(func: Any, name: str, what: str) -> ByType:
    annotation = resolved_annotation(func, name)
    if typing.get_origin(annotation) is typing.Annotated:
        annotation = typing.get_args(annotation)[0]
    wanted = typing.get_origin(annotation) or annotation
    if not isinstance(wanted, type) or wanted in (Any, object, inspect.Parameter.empty):
        missing = annotation is inspect.Parameter.empty
        raise RegistrationError(
            f"{what}: Depends() without a provider finds what the lifespan yields by the annotation, which is "
            f"{'missing' if missing else repr(annotation)}; it must be a class"
        )
    try:
        isinstance(None, wanted)
    except TypeError as error:
        raise RegistrationError(f"{what}: {wanted!r} cannot be found by its type: {error}") from None
    return ByType(wanted, what)


def _signature(func: Any) -> inspect.Signature:
    # A partial that update_wrapper() was applied to would show the signature of the whole function.
    return inspect.signature(func, follow_wrapped=not isinstance(func, functools.partial))


def _given_by_partial(func: Any) -> set[str]:
    given: set[str] = set()
    while isinstance(func, functools.partial):
        given.update(func.keywords)
        func = func.func
    return given
