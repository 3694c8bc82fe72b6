"""The public classes for RabbitMQ: thin subclasses of the transport-neutral client and server.

Only what RabbitMQ users pass or see differently belongs here; the rest of the API belongs in ``rabibridge_core._api``.
"""
