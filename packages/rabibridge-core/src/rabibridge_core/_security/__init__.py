"""Signs and encrypts everything that leaves a client or server, and checks everything that arrives.

It sits between the engines and the transport: what an engine gets was checked, whatever kind of message it is.
"""
