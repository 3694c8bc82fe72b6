"""What connects RabiBridge with libraries of others: one module for each, and none is imported unless it is asked for.

Only thin layers belong here, which adapt to an interface; what they share is in :mod:`rabibridge._gateway`. Each module
names the package that it needs, if that is missing.
"""
