"""Plug-ins: the hooks, by pluggy, for adding transports and serializers and for observing calls.

A plug-in is a module or an object with functions marked ``@hookimpl``. It is found through the entry-point group
``rabibridge``, or registered explicitly::

    from rabibridge_core.plugins import hookimpl, plugin_manager

    class CountCalls:
        @hookimpl
        def rabibridge_call_finished(self, func_name, correlation_id, duration, error):
            ...

    plugin_manager().register(CountCalls())

Here belong the hooks, and the code that finds plug-ins and calls them. The plug-ins themselves are distributions of
their own.
"""

from rabibridge_core.plugins.hookspecs import hookimpl, hookspec
from rabibridge_core.plugins.manager import plugin_manager
from rabibridge_core.plugins.observers import (
    CallHeaders,
    CallObserver,
    ClientObserver,
    ObservedRequest,
    Outcome,
    RequestObserver,
    Role,
    ServerObserver,
    Shape,
    Subject,
)

__all__ = [
    "CallHeaders",
    "CallObserver",
    "ClientObserver",
    "ObservedRequest",
    "Outcome",
    "RequestObserver",
    "Role",
    "ServerObserver",
    "Shape",
    "Subject",
    "hookimpl",
    "hookspec",
    "plugin_manager",
]
