"""Compares the synchronous client with other libraries for synchronous callers."""
