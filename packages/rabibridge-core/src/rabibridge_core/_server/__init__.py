"""The serving side: runs handlers and settles every request.

It knows transports only by their protocol. What callers need belongs in ``_client``, what both need in ``_protocol``.
"""
