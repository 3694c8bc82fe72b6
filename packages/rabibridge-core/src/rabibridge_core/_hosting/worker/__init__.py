"""What runs in a worker process that a supervisor has started: its program, and the reports to the supervisor.

It knows nothing of how workers are started, counted or replaced; that is ``_hosting.supervisor``.
"""
