"""General tools for asyncio and threads: deadlines, daemon threads, tasks that must be closed.

They would be of use in any program; whatever knows a call, a service or a transport belongs elsewhere.
"""
