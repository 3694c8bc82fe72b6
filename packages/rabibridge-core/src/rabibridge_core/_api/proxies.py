"""Proxies: all remote methods of a service class, in the place of an object of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

from rabibridge_core._api.stream_stubs import StreamStub
from rabibridge_core._api.stubs import Stub
from rabibridge_core._client.options import chosen_options
from rabibridge_core._client.stream_targets import gives_items
from rabibridge_core._client.targets import CallTarget
from rabibridge_core._codec.annotations import item_adapter
from rabibridge_core._services.interface import interface_of

if TYPE_CHECKING:
    from rabibridge_core._api.stub_base import MakesViews
    from rabibridge_core._client.options import OptionArguments
    from rabibridge_core._services.interface import ServiceInterface, ServiceMethod

__all__ = ["ServiceProxy", "make_proxy"]


def make_proxy(
    calls: MakesViews,
    cls: object,
    *,
    name: str | None,
    version: str | int | None,
    validate: bool,
    options: OptionArguments,
    kind: type[ServiceProxy] | None = None,
) -> ServiceProxy:
    """Return a proxy of a service class; ``client.service`` describes the arguments.

    Raises:
        TypeError: ``cls`` is no class, or an option is unknown.
        ConfigurationError: an option has a wrong type or value.
        RegistrationError: ``cls`` cannot be a service, or an annotation cannot be used.
    """
    declared = interface_of(cls)
    if validate:
        declared.adapters()
    interface = declared.renamed(name, version)
    if interface is not declared:
        for method in interface.methods:
            interface.service_name(method)
    return (kind or ServiceProxy)(calls._view(chosen_options(options)), interface, validate)


class ServiceProxy:
    """The remote methods of a service class, each as a :class:`~rabibridge_core.rpc.Stub`."""

    _stub: ClassVar[type[Any]] = Stub
    _stream_stub: ClassVar[type[Any]] = StreamStub

    def __init__(self, calls: Any, interface: ServiceInterface, validate: bool) -> None:
        """Call the methods of ``interface`` by ``calls``, a view of a client."""
        self._calls = calls
        self._interface = interface
        self._validate = validate

    def __getattr__(self, attribute: str) -> Stub[..., Any]:
        """Return a method; it is made when it is first used."""
        method = self._method(attribute)
        interface = self._interface
        stub: Stub[..., Any]
        if gives_items(method.function):
            adapt = item_adapter(method.function) if self._validate else None
            target = CallTarget(interface.service_name(method), "any", adapt)
            stub = self._stream_stub(self._calls, method.function, target)
        else:
            adapt = interface.adapters()[attribute] if self._validate else None
            target = CallTarget(interface.service_name(method), method.kind, adapt)
            stub = self._stub(self._calls, method.function, target)
        self.__dict__[attribute] = stub
        return stub

    def _method(self, attribute: str) -> ServiceMethod:
        if attribute.startswith("_"):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {attribute!r}")
        cls, methods = self._interface.cls, self._interface.methods
        for method in methods:
            if method.attribute == attribute:
                return method
        what = "is no method that is served" if hasattr(cls, attribute) else "does not exist"
        names = ", ".join(dict.fromkeys(method.attribute for method in methods))
        raise AttributeError(f"{cls.__qualname__}.{attribute} {what}; remote methods are: {names}", name=attribute)

    def __dir__(self) -> list[str]:
        return sorted({method.attribute for method in self._interface.methods})

    def __repr__(self) -> str:
        """Show the class and the client."""
        return f"<{type(self).__name__} of {self._interface.cls.__qualname__} by {self._calls!r}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            f"{self!r} cannot be pickled: call client.service({self._interface.cls.__name__}) in the other process, or "
            "pickle one of its methods"
        )
