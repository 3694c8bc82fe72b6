"""The RabbitMQ transport: implements the protocols of ``rabibridge_core.transport`` on one connection.

Publishing, consuming and settling belong here; connecting and declaring belong in ``_connection``.
"""
