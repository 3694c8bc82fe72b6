"""AMQP 0-9-1 as pure functions over bytes: frames, field tables, and a fast path for common messages.

No sockets, no asyncio and no state of a connection belong here.
"""
