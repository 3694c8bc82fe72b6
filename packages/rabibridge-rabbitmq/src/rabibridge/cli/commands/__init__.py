"""The commands, one module each, under the name that users type. Each offers ``app``.

A module imports what takes long to import inside its functions if its help does not need it.
"""
