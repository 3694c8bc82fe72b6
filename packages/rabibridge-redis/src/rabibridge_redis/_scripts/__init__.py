"""What the server does in one step: scripts in Lua, which is what makes a refusal exact.

Each file is one script, and the names of all keys are in ``common.lua``. No script waits, and each does
a bounded amount.
"""
