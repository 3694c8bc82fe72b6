"""The comparison of streams with those of other libraries."""
