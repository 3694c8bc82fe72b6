"""Plug-ins: the hooks, by pluggy, for more transports, more serializers, and for observing calls.

A plug-in is a module or object with functions marked ``@hookimpl``. It is found through the entry-point group
``rabibridge``, or registered by hand::

    from rabibridge_core.plugins import hookimpl, plugin_manager

    class CountCalls:
        @hookimpl
        def rabibridge_call_finished(self, func_name, correlation_id, duration, error):
            ...

    plugin_manager().register(CountCalls())

What a plug-in can do is declared here; the plug-ins themselves are distributions of their own.
"""

from rabibridge_core.plugins.hookspecs import hookimpl, hookspec
from rabibridge_core.plugins.manager import plugin_manager

__all__ = ["hookimpl", "hookspec", "plugin_manager"]
