"""What a service is: the decorator, the limits of a service, and the registry of a server.

It describes services; running them belongs in ``_server``.
"""
