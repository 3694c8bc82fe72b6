"""Calls of functions by the function itself, which says the name, the kind and all types."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, Unpack, overload

from rabibridge_core._api.call_base import CallBase
from rabibridge_core._api.proxies import make_proxy
from rabibridge_core._api.stream_stubs import StreamStub
from rabibridge_core._api.stubs import Stub
from rabibridge_core._client.stream_opening import call_with_upload
from rabibridge_core._client.stream_targets import gives_items
from rabibridge_core._client.targets import as_listed_by, explain_options, target_of
from rabibridge_core._client.upload_arguments import find_upload
from rabibridge_core.errors import RemoteExecutionError, SerializationError

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Awaitable, Callable, Iterator

    from rabibridge_core._client.options import OptionArguments

__all__ = ["TypedCalls"]

P = ParamSpec("P")
R = TypeVar("R")
ServiceT = TypeVar("ServiceT")


class TypedCalls(CallBase):
    """Calls whose arguments and results type checkers check as in a local call."""

    __slots__ = ()

    # The names of *_args and **_kwargs matter: pyright mistakes a parameter of the function for one of the same name.
    @overload
    async def call(self, func: Callable[P, Awaitable[R]], /, *_args: P.args, **_kwargs: P.kwargs) -> R: ...
    @overload
    async def call(self, func: Callable[P, R], /, *_args: P.args, **_kwargs: P.kwargs) -> R: ...
    @overload
    async def call(self, func: str, /, *_args: Any, **_kwargs: Any) -> Any: ...
    async def call(self, func: str | Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Call a function on one of the servers and return its result.

        All arguments but the first belong to the function, whatever their names are. Options such as a timeout are
        given before: ``client.options(timeout=2.0).call(add, 1, 2)``.

        Type checkers see the signature of the function: ``await client.call(add, 1, 2)`` has the type that ``add``
        returns, whether it is a ``def`` or an ``async def``; and what arrives is checked and converted by that type.

        One argument may be an async iterable or an iterator, if the function reads it as one: it is drawn from as the
        function reads, and closed at the end. What it raises ends the call.

        Example::

            total = await client.call(add, 1, b=2)
            total = await client.call("add", 1, b=2)  # where the function cannot be imported; of type Any

        Args:
            func: the function that is registered, which says name and kind; or a function of the same name and
                signature, whose body does not matter, or the name of the service. The latter two reach a coroutine
                function and any other; servers of RabiBridge 0.1 must be called by ``options(kind=...)`` then.
            *args: the positional arguments of the function.
            **kwargs: its keyword arguments.

        Raises:
            RabiBridgeError: as in :meth:`RpcClient.remote_call`, which ends in the same way and with the same errors.
            SerializationError: also: the result does not fit the return annotation of the function.
            RegistrationError: the return annotation names something that is not found, or cannot be used.
            TypeError: ``func`` stands for no service, such as a class, a lambda or a generator function.
        """
        name, kind, adapt = target_of(func)
        client, options = self._prepare(kind)
        try:
            result = await client.call(name, args, kwargs, options)
        except RemoteExecutionError as error:
            if error.code is None:
                explain_options(error, kwargs)
                raise
            raise as_listed_by(func, error) from error.__cause__
        except SerializationError:
            found = find_upload(args, kwargs)
            if found is None:
                raise
        else:
            return result if adapt is None or type(result) in adapt.exact else adapt(result)
        result = await call_with_upload(client, func, name, found, options)
        return result if adapt is None or type(result) in adapt.exact else adapt(result)

    @overload
    def stub(  # type: ignore[overload-overlap]  # any other function has a result
        self,
        func: Callable[P, AsyncIterable[R] | Iterator[R]],
        /,
        *,
        name: str | None = None,
        validate: bool = True,
        **options: Unpack[OptionArguments],
    ) -> StreamStub[P, R]: ...
    @overload
    def stub(
        self,
        func: Callable[P, Awaitable[R]],
        /,
        *,
        name: str | None = None,
        validate: bool = True,
        **options: Unpack[OptionArguments],
    ) -> Stub[P, R]: ...
    @overload
    def stub(
        self,
        func: Callable[P, R],
        /,
        *,
        name: str | None = None,
        validate: bool = True,
        **options: Unpack[OptionArguments],
    ) -> Stub[P, R]: ...
    @overload
    def stub(self, func: str, /, *, validate: bool = True, **options: Unpack[OptionArguments]) -> Stub[..., Any]: ...
    def stub(
        self,
        func: str | Callable[..., Any],
        /,
        *,
        name: str | None = None,
        validate: bool = True,
        **options: Unpack[OptionArguments],
    ) -> Stub[..., Any] | StreamStub[..., Any]:
        """Return the remote function as a callable with the signature of the function.

        That of a generator function returns a :class:`Stream`, as :meth:`stream` does.

        Example::

            add = client.stub(services.add, timeout=2.0, idempotent=True)
            total = await add(1, b=2)

        Args:
            func: the function, or the name of the service, as in :meth:`call`.
            name: the name of the service; ``None``: as :meth:`call` finds it.
            validate: check and convert results by the return annotation of the function, as :meth:`call` does.
                ``False``: return them as they arrive.
            **options: as in :meth:`Calls.options`.

        Raises:
            TypeError: ``func`` stands for no service, or an option is unknown.
            ConfigurationError: no service can have the name, or an option has a wrong type or value.
            RegistrationError: the return annotation names something that is not found, or cannot be used.
        """
        if not isinstance(func, str) and gives_items(func):
            return StreamStub[..., Any]._make(self, func, name=name, validate=validate, options=options)
        return Stub[..., Any]._make(self, func, name=name, validate=validate, options=options)

    # A Callable, as mypy takes no protocol or abstract class for a type[ServiceT].
    def service(
        self,
        cls: Callable[..., ServiceT],
        /,
        *,
        name: str | None = None,
        version: str | int | None = None,
        validate: bool = True,
        **options: Unpack[OptionArguments],
    ) -> ServiceT:
        """Return a proxy of a service class: its methods call those of an object on one of the servers.

        For type checkers the proxy is an object of the class. Its methods have to be awaited, whatever they are in the
        class: a ``def`` method, which type checkers take for one that returns its result at once, is called by
        ``client.call(proxy.method, ...)``, or declared as ``async def`` in a protocol.

        Example::

            math = client.service(MathService, timeout=2.0)
            total = await math.add(1, 2)

        Args:
            cls: a class with ``@service``; or a protocol or any other class that describes the methods, so that the
                caller need not import the implementation.
            name: the name in front of the method names; ``None``: that of the class or of its ``@service``.
            version: the version; ``None``: that of its ``@service``, if any.
            validate: check and convert results by the return annotations of the methods, as :meth:`call` does.
            **options: as in :meth:`Calls.options`.

        Raises:
            TypeError: ``cls`` is no class, or an option is unknown.
            ConfigurationError: an option has a wrong type or value.
            RegistrationError: a method cannot be a service, no service can have its name, or its return annotation
                names something that is not found.
        """
        proxy: Any = make_proxy(self, cls, name=name, version=version, validate=validate, options=options)
        return proxy  # type: ignore[no-any-return]
