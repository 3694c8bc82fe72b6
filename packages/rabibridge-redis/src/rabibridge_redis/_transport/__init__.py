"""The transport: callers, consumers, and the requests that they hold.

It implements the protocols of ``rabibridge_core.transport``. It does not know how calls are encoded.
"""
