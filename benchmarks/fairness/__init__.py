"""One greedy and nine modest callers of one service."""
