"""An in-memory broker and its transport.

What a test needs around it (recording, assertions, fixtures) belongs in ``_fake`` or the pytest plug-in.
"""
