"""What travels above the transport: names, header names, the forms of request, reply and error bodies.

Client and server share it, and docs/protocol.md specifies it. What only one broker does belongs in its transport.
"""
