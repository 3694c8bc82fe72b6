"""What an operator does: dead letters, queues, permissions, and finding faults. No call uses anything of it."""
