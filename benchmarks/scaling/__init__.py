"""How throughput grows with processes, queues, connections and nodes: ``python -m benchmarks.scaling``."""
