"""The RabbitMQ transport: implements the protocols of ``rabibridge_core.transport`` on one connection.

The call path of callers and workers belongs here; connecting and declaring belong in ``_connection``.
"""
