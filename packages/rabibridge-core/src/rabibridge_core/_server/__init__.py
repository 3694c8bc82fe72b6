"""The serving side: receives requests, runs their handlers, and settles every request.

It knows transports by their protocol only. Code for callers belongs in ``_client``, code for both in ``_protocol``.
"""
