"""Converts between values and message bodies: serializers, compression, signatures and size limits.

What a body means (arguments, result, error) belongs in ``_protocol``. Nothing here knows calls, queues or asyncio.
"""
