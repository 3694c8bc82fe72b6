"""The broker behind the ``fake_broker`` fixture: serves functions and records calls.

What a test sets up and inspects belongs here. How requests are queued, routed and lost belongs in ``_memory``.
"""
