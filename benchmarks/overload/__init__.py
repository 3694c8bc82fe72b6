"""Measures what callers get from a service under overload: ``python -m benchmarks.overload``."""
