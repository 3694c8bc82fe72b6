"""The in-memory broker and its transport.

Queues, routing, connections and outages belong here. Running functions, recording calls and pytest fixtures do not:
they are in ``_fake`` and ``plugin``.
"""
