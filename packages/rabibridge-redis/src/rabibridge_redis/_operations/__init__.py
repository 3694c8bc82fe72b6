"""What an operator does: dead letters, queues, permissions, and finding faults."""
