"""Strategies of hypothesis for values of annotations.

Which values may travel at all is decided by the codec of the core.
"""
