"""Real brokers for tests: private nodes of what is installed, containers, and those that somebody else runs.

What speaks their protocols belongs to the transports.
"""
