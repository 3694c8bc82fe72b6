"""Runs a program in several worker processes: starts them, replaces those that end, reloads and stops them.

It knows no server and no broker: a worker reports that it is ready, and that its event loop runs.
"""
