"""Stubs and proxies, as a synchronous client and its views make them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, Unpack, overload

from rabibridge_core._api.proxies import ServiceProxy, make_proxy
from rabibridge_core._api.sync_call_base import SyncCallBase
from rabibridge_core._api.sync_stream_stubs import SyncStreamStub
from rabibridge_core._api.sync_stubs import SyncStub
from rabibridge_core._client.stream_targets import gives_items

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Awaitable, Callable, Iterator

    from rabibridge_core._client.options import OptionArguments

__all__ = ["SyncStubCalls"]

P = ParamSpec("P")
R = TypeVar("R")
ServiceT = TypeVar("ServiceT")


class SyncStubCalls(SyncCallBase):
    """``stub`` and ``service``."""

    __slots__ = ()

    @overload
    def stub(  # type: ignore[overload-overlap]  # any other function has a result
        self,
        func: Callable[P, AsyncIterable[R] | Iterator[R]],
        /,
        *,
        name: str | None = None,
        validate: bool = True,
        **options: Unpack[OptionArguments],
    ) -> SyncStreamStub[P, R]: ...
    @overload
    def stub(
        self,
        func: Callable[P, Awaitable[R]],
        /,
        *,
        name: str | None = None,
        validate: bool = True,
        **options: Unpack[OptionArguments],
    ) -> SyncStub[P, R]: ...
    @overload
    def stub(
        self,
        func: Callable[P, R],
        /,
        *,
        name: str | None = None,
        validate: bool = True,
        **options: Unpack[OptionArguments],
    ) -> SyncStub[P, R]: ...
    @overload
    def stub(
        self, func: str, /, *, validate: bool = True, **options: Unpack[OptionArguments]
    ) -> SyncStub[..., Any]: ...
    def stub(
        self,
        func: str | Callable[..., Any],
        /,
        *,
        name: str | None = None,
        validate: bool = True,
        **options: Unpack[OptionArguments],
    ) -> SyncStub[..., Any] | SyncStreamStub[..., Any]:
        """Return the remote function as a callable with the signature of the function, which blocks.

        That of a generator function returns a :class:`SyncStream`, as :meth:`stream` does.

        Args:
            func: the function, or the name of the service, as in :meth:`call`.
            name: the name of the service; ``None``: as :meth:`call` finds it.
            validate: check and convert results by the return annotation of the function, as :meth:`call` does.
            **options: as in :meth:`options`.

        Raises:
            TypeError: ``func`` stands for no service, or an option is unknown.
            ConfigurationError: no service can have the name, or an option has a wrong type or value.
            RegistrationError: the return annotation names something that is not found, or cannot be used.
        """
        if not isinstance(func, str) and gives_items(func):
            return SyncStreamStub[..., Any]._make(self, func, name=name, validate=validate, options=options)
        return SyncStub[..., Any]._make(self, func, name=name, validate=validate, options=options)

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
        """Return a proxy of a service class: its methods call those of an object on one of the servers, and block.

        For type checkers the proxy is an object of the class. Its methods return their results at once, whatever they
        are in the class: an ``async def`` method, which type checkers take for one that has to be awaited, is called by
        ``client.call(proxy.method, ...)``, or declared as ``def`` in a protocol.

        Args:
            cls: a class with ``@service``; or a protocol or any other class that describes the methods.
            name: the name in front of the method names; ``None``: that of the class or of its ``@service``.
            version: the version; ``None``: that of its ``@service``, if any.
            validate: check and convert results by the return annotations of the methods, as :meth:`call` does.
            **options: as in :meth:`options`.

        Raises:
            TypeError: ``cls`` is no class, or an option is unknown.
            ConfigurationError: an option has a wrong type or value.
            RegistrationError: a method cannot be a service, no service can have its name, or its return annotation
                names something that is not found.
        """
        proxy: Any = make_proxy(
            self, cls, name=name, version=version, validate=validate, options=options, kind=SyncServiceProxy
        )
        return proxy  # type: ignore[no-any-return]


class SyncServiceProxy(ServiceProxy):
    """The remote methods of a service class, each as a :class:`~rabibridge_core.rpc.SyncStub`."""

    _stub = SyncStub
    _stream_stub = SyncStreamStub
