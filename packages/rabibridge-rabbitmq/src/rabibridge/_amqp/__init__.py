"""AMQP 0-9-1 as pure functions over bytes: frames, methods, properties, headers, and a fast path for common messages.

Sockets, asyncio and the state of a connection or channel do not belong here.
"""
