"""The libraries that are compared, each in a module of its own that is imported only in its own processes."""
