"""One supervised connection, for any broker: connected, set up, and replaced when it is lost.

Transports of brokers share it. They tell it how a session is opened, and what is set up on each new one; it decides
when another attempt is made, and when attempts end. It knows no broker, and no library for one.
"""
