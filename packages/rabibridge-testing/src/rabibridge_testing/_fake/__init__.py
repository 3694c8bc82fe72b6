"""The broker behind the ``fake_broker`` fixture: runs functions and records calls.

How an in-memory broker routes and queues messages belongs in ``_memory``.
"""
