"""What an operator does: dead letters, queues, permissions, and finding faults. Calls and services use nothing of it."""
