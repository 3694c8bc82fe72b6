"""Runs servers in a process: stops them on signals, and reloads their services when files change.

It starts and stops what ``_server`` provides; nothing here processes a request.
"""
