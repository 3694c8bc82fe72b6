"""The public classes for RabbitMQ: thin subclasses of the transport-neutral client and server.

Only what RabbitMQ users pass or see differently belongs here; how calls are made belongs in ``rabibridge_core``.
"""
