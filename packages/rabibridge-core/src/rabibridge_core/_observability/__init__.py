"""What a program can ask about itself: the current call, the health, a blocked event loop.

What reports to other programs (logs, traces, metrics) is a plug-in and belongs behind the hooks of ``plugins``.
"""
