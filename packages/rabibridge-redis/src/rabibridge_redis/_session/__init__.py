"""One connection from its log-in to its loss, and what replaces it by another one.

A session has a lease, by which others see that it is alive. It knows nothing of callers and consumers.
"""
