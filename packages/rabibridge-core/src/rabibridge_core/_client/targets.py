"""What a function, given to a client in the place of a name, says about the service to call: its name and its kind."""

from __future__ import annotations

import inspect
from types import AsyncGeneratorType, BuiltinFunctionType, CoroutineType, GeneratorType, MethodType
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import ref

from rabibridge_core._client.options import GivenOptions
from rabibridge_core._codec.annotations import result_adapter
from rabibridge_core._protocol.naming import check_service_name
from rabibridge_core._protocol.service_errors import as_listed
from rabibridge_core._services.callables import is_async, is_generator, is_unbound_method, place_of
from rabibridge_core._services.injection import signature_for_callers
from rabibridge_core._services.interface import service_of_method
from rabibridge_core._services.marks import is_declaration, listed_errors, marked_names
from rabibridge_core.errors import ConfigurationError, InvalidArgumentsError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rabibridge_core._codec.annotations import ResultAdapter
    from rabibridge_core._protocol.naming import FunctionKind
    from rabibridge_core.errors import RemoteExecutionError

__all__ = ["CallTarget", "HasTarget", "as_listed_by", "explain_options", "name_of", "target_of"]


_new_tuple = tuple.__new__  # takes half the time of a NamedTuple's constructor
_ANY_ARGUMENTS = inspect.signature(lambda *args, **kwargs: None)


class CallTarget(NamedTuple):
    """The service that a function stands for.

    Attributes:
        name: the name of the service.
        kind: how its functions run; ``"any"`` if that is not known.
        adapt: returns a result as the annotation of the function announces it; ``None``: as it arrives.
    """

    name: str
    kind: FunctionKind
    adapt: ResultAdapter | None = None


class HasTarget:
    """Base class of what stands for a service and knows which: a stub."""

    __slots__ = ("_target",)

    _target: CallTarget

    @property
    def _listing(self) -> object:
        """The function that lists the errors of the service, or its name."""
        raise NotImplementedError

    @property
    def __signature__(self) -> inspect.Signature:
        """The signature of the function as callers see it; that of any arguments, if only the name is known."""
        func: Any = self._listing
        return _ANY_ARGUMENTS if isinstance(func, str) else signature_for_callers(func)


_known: dict[int, tuple[ref[Any], CallTarget]] = {}
"""The targets of functions, by the id of the function: as no function is hashed or compared, it may be any object."""

_known_methods: dict[tuple[int, int], tuple[ref[Any], ref[Any], CallTarget]] = {}
"""The targets of bound methods, which are objects of a moment: by the ids of the function and of the class."""


def target_of(func: object, name: str | None = None) -> CallTarget:
    """Return the service that ``func`` stands for: the function that is registered, its name, or a stub.

    A function that is marked by ``@register_call`` has the name and the kind that it is registered with. Any other
    function has the name that it was defined with. As it may be a mere signature, its kind says nothing.

    Args:
        func: the function, a stub, or the name of the service.
        name: the name of the service; ``None``: the one that ``func`` says.

    Raises:
        TypeError: it stands for no service, such as a class, a lambda or a generator function.
        ConfigurationError: no service can have the name.
        RegistrationError: the annotation of its result names something that is not found, or cannot be used.
    """
    known = _known.get(id(func))
    if known is not None and name is None and known[0]() is func:
        return known[1]
    if type(func) is MethodType and name is None:
        return _of_method(func)
    if isinstance(func, str):
        return _new_tuple(CallTarget, (func if name is None else name, "any", None))
    if isinstance(func, HasTarget):
        return func._target if name is None else func._target._replace(name=check_service_name(name))
    target = _find(func, name)
    if name is None:
        _keep(func, target)
    return target


def as_listed_by(func: object, error: RemoteExecutionError) -> RemoteExecutionError:
    """Return the error of a call as the class that ``func`` lists by ``@register_call(raises=...)``, if it lists one.

    Usually it is of that class already. The program may have declared the class again since, as a hot reload does.
    """
    func = func._listing if isinstance(func, HasTarget) else func
    return error if isinstance(func, str) else as_listed(error, listed_errors(func))


def _keep(func: object, target: CallTarget) -> None:
    key = id(func)
    try:
        _known[key] = ref(func, lambda _: _known.pop(key, None)), target
    except TypeError:  # an object without weak references is looked at each time
        return


def _of_method(bound: MethodType) -> CallTarget:
    function, holder = bound.__func__, bound.__self__
    owner = holder if isinstance(holder, type) else type(holder)
    key = id(function), id(owner)
    known = _known_methods.get(key)
    if known is not None and known[0]() is function and known[1]() is owner:
        return known[2]
    found = service_of_method(bound)
    if found is None:
        target = _find(bound, None)
    else:
        interface, method = found
        target = CallTarget(interface.service_name(method), method.kind, result_adapter(bound))
    _known_methods[key] = ref(function, lambda _: _known_methods.pop(key, None)), ref(owner), target
    return target


def _find(func: Any, name: str | None) -> CallTarget:
    if isinstance(func, staticmethod):
        func = func.__func__
    found = name_of(func, name)
    if is_generator(func):
        raise TypeError(
            f"{place_of(func)} is a generator function, which gives its values one by one, and a call returns one "
            f"result: read them with client.stream({getattr(func, '__name__', 'function')}, ...)"
        )
    kind: FunctionKind = "async" if is_async(func) else "sync"
    return CallTarget(found, kind if marked_names(func) and not is_declaration(func) else "any", result_adapter(func))


def name_of(func: Any, name: str | None) -> str:
    """Return the name of the service that a function stands for; ``name`` if that is not ``None``.

    Raises:
        TypeError: it stands for no service.
        ConfigurationError: no service can have the name.
    """
    _refuse_what_is_no_service(func)
    names = marked_names(func)
    if name is None and len(names) > 1:
        raise TypeError(
            f"{place_of(func)} is registered under several names: call one of them by client.stub(function, name=...), "
            f"name= ({', '.join(map(repr, names))})"
        )
    own = next(iter(names), None) or getattr(func, "__name__", None)
    try:
        return check_service_name(own if name is None else name)
    except ConfigurationError as error:
        if name is not None:
            raise
        why = "it has no name of its own" if own is None else str(error)
        raise TypeError(
            f"{place_of(func)} stands for no service: {why}. Call the service by its name, as in "
            'client.call("name", ...), or give the name to a stub: client.stub(function, name="name")'
        ) from None


def _refuse_what_is_no_service(func: Any) -> None:
    """Check that a call of ``func`` could be a call of a service.

    Raises:
        TypeError: it could not.
    """
    if isinstance(func, type):
        raise TypeError(
            f"{func.__qualname__} is a class, and a call needs a function: give a function, or call a method of a "
            f"service class, as in client.service({func.__name__}).method(...)"
        )
    if isinstance(func, CoroutineType):
        func.close()
        raise TypeError(
            f"{func.__qualname__}() was called here, and gave a coroutine: give the function and its arguments, as in "
            f"client.call({func.__name__}, ...)"
        )
    if isinstance(func, AsyncGeneratorType | GeneratorType):
        raise TypeError(
            f"{func.__qualname__}() was called here, and gave a generator: give the function and its arguments, as in "
            f"client.stream({func.__name__}, ...)"
        )
    if not callable(func) and not isinstance(func, classmethod):
        raise TypeError(
            f"{repr(func)[:80]} is not callable: give the function that is registered, or the name of the service"
        )
    if isinstance(func, BuiltinFunctionType):
        raise TypeError(
            f"{func.__qualname__} is a built-in function, which cannot be registered by itself: give the name that it "
            f'is served by, as in client.call("{func.__name__}", ...)'
        )
    if isinstance(func, classmethod) or is_unbound_method(func):
        function = func.__func__ if isinstance(func, classmethod) else func
        raise TypeError(
            f"{place_of(function)} is a method without its object: call it by a proxy, as in "
            f"client.service({function.__qualname__.rpartition('.')[0]}).{function.__name__}(...), or give the name of "
            "the service"
        )


def explain_options(error: RemoteExecutionError, kwargs: Mapping[str, object]) -> None:
    """Add to an error where options are given, if some seem to have been given as arguments of the function."""
    if not isinstance(error, InvalidArgumentsError):
        return
    mistaken = kwargs.keys() & GivenOptions._fields
    if mistaken:
        options = ", ".join(f"{name}=..." for name in sorted(mistaken))
        error.add_note(
            "All arguments of client.call belong to the function. If options of the call are meant, give them before: "
            f"client.options({options}).call(...)"
        )
