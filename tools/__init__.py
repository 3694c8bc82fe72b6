"""Scripts and helpers for working on this repository; none of it is installed."""
