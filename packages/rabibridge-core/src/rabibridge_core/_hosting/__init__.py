"""Runs servers in a process: signals, hot reload.

It starts and stops what ``_server`` provides, and adds nothing to how requests are processed.
"""
