"""Benchmarks: ``make bench``, ``python -m benchmarks.compare`` and ``python -m benchmarks.steady``."""
