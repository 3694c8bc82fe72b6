"""Measures ``fetch_size="auto"`` with a backend whose capacity changes under way."""
