"""Measures what a client of three independent brokers does while one is cut off, and while one is killed."""
