"""The calling side: from a function name and arguments to a result or one error.

It knows transports only by their protocol. What workers need belongs in ``_server``, what both need in ``_protocol``.
"""
