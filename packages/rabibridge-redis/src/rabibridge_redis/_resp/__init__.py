"""What travels between this process and a Redis server: RESP3, and the form of requests and replies.

It knows bytes and one connection. What is sent when, and to whom, is decided above it.
"""
