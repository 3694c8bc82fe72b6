"""Converts between values and message bodies: serializers, compression, signatures and size limits.

Here belongs what turns one value into bytes and back. What a body means (arguments, result, error) belongs in
``_protocol``; nothing here knows calls, queues or asyncio.
"""
