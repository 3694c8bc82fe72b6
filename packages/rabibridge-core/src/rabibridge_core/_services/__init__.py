"""Describes services: the decorator ``@register_call``, the limits of a service, and the registry of a server.

Nothing here runs a service or knows a connection; that belongs in ``_server``.
"""
