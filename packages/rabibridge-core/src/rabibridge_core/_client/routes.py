"""Which routing key a call is sent to: by the name of its service, its kind, and its class of criticality.

A client does not know which classes a service has. It sends a call that names one to the key of the class. If the
broker has no such key, it sends the call again to the key of the service, whose first class then serves it, and the
next calls as well: for ten seconds, so that a service that gets classes while the client runs is found.
"""

from __future__ import annotations

from contextvars import Context
from typing import TYPE_CHECKING

from rabibridge_core._observability.call_context import inherited_criticality, passed_on
from rabibridge_core._protocol.headers import CRITICALITY, CheckedHeaders
from rabibridge_core._protocol.naming import of_class, routing_key, service_of_routing_key, split_class

if TYPE_CHECKING:
    import asyncio

    from rabibridge_core._protocol.naming import FunctionKind
    from rabibridge_core.transport import Headers

__all__ = ["ClassRoutes", "RouteCache", "critical", "kind_of"]

_ROUTES_KEPT = 4096
_KINDS_KEPT = 64
_LOOK_AGAIN = 10.0
"""After how many seconds a class is looked for again that a service did not have."""
_CLASS = "\0"
"""Stands in the kind of the options of a call, before the class that it names."""


def critical(kind: str, criticality: str, headers: Headers | None) -> tuple[FunctionKind, Headers]:
    """Return what the options of a call say instead of its kind and its headers, if it names a class."""
    named: FunctionKind = f"{kind}{_CLASS}{criticality}"  # type: ignore[assignment] # pyright: ignore[reportAssignmentType]
    return named, CheckedHeaders({**headers, CRITICALITY: criticality} if headers else {CRITICALITY: criticality})


def kind_of(kind: str) -> FunctionKind:
    """Return the kind that the options of a call say, without the class that it names."""
    return kind.partition(_CLASS)[0]  # type: ignore[return-value] # pyright: ignore[reportReturnType]


class RouteCache(dict[str, dict[str, str]]):
    """The routing keys of the services that a client has called, by kind and name; the kind names the class, too.

    Only plain texts become keys: an object that equals a text, such as a member of an enumeration, may lead to another
    route than that text, and is looked up anew each time.
    """

    def __init__(self, classes: ClassRoutes) -> None:
        """Start empty; ``classes`` says which classes do not exist."""
        self._classes = classes
        classes.caches.append(self)

    def add(self, func_name: str, kind: FunctionKind) -> str:
        """Return a routing key that is not cached, and cache it.

        Raises:
            ConfigurationError: no service can have this name, or the kind is unknown.
        """
        base, _, criticality = _plain(kind).partition(_CLASS) if isinstance(kind, str) else (kind, "", "")
        route = routing_key(_plain(func_name), base)  # type: ignore[arg-type] # it checks the kind
        if criticality:
            route = self._classes.existing(route, criticality)
        if type(func_name) is str and type(kind) is str:
            if kind not in self and len(self) >= _KINDS_KEPT:  # somebody makes up classes
                self.clear()
            routes = self.setdefault(kind, {})
            if len(routes) >= _ROUTES_KEPT:
                routes.clear()
            routes[func_name] = route
        return route

    def inherited(self, func_name: str, kind: str, route: str, headers: Headers | None) -> tuple[str, Headers | None]:
        """Return the routing key and the headers of a call that the call being processed here makes.

        A call that names no class takes over the one that its caller has named.
        """
        headers = passed_on(headers)
        criticality = inherited_criticality()
        if criticality is None or type(headers) is CheckedHeaders:
            return route, headers
        named, headers = critical(kind, criticality, headers)
        try:
            return self[named][func_name], headers
        except (KeyError, TypeError):
            return self.add(func_name, named), headers

    def forget_classes(self, name: str | None = None) -> None:
        """Drop the routes of classes, for one service or for all."""
        for kind, routes in self.items():
            if _CLASS in kind:
                if name is None:
                    routes.clear()
                else:
                    routes.pop(name, None)


class ClassRoutes:
    """The classes that services turned out not to have, for all caches of one client."""

    def __init__(self) -> None:
        """No class is known to be missing."""
        self.caches: list[RouteCache] = []
        self._missing: set[str] = set()
        self._timer: asyncio.TimerHandle | None = None

    def existing(self, route: str, criticality: str) -> str:
        """Return the key of a class of the service with the key ``route``; that key, if there is no such class."""
        of_it = of_class(route, criticality)
        return route if of_it in self._missing else of_it

    def instead_of(self, route: str, loop: asyncio.AbstractEventLoop) -> str | None:
        """Return the key to send to, as ``route`` leads nowhere; ``None``: there is no other."""
        plain, criticality = split_class(route)
        if not criticality:
            return None
        if len(self._missing) >= _ROUTES_KEPT:
            self.forget()
        self._missing.add(route)
        for cache in self.caches:
            cache.forget_classes(service_of_routing_key(route))
        if self._timer is None:  # in a new context: it would keep the one of the task that reads the socket
            self._timer = loop.call_later(_LOOK_AGAIN, self.forget, context=Context())
        return plain

    def forget(self) -> None:
        """Look for all classes again."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._missing.clear()
        for cache in self.caches:
            cache.forget_classes()


def _plain(text: str) -> str:
    return str.__str__(text) if isinstance(text, str) else text
