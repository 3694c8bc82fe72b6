"""Measures throughput against processes, queues, connections and nodes: ``python -m benchmarks.scaling``."""
