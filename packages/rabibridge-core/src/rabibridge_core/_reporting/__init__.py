"""What logs and errors say: the loggers, and how exceptions, modules and text from outside are described.

The lowest layer, since everything may log: nothing here knows calls, settings or brokers.
"""
