"""Measures what users in requests, signatures and encryption cost."""
