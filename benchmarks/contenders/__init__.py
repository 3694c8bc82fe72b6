"""The compared libraries, one module each; a module is imported only in the processes of its contender."""
