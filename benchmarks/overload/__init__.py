"""What becomes of callers when a service is offered more than it can do: ``python -m benchmarks.overload``."""
