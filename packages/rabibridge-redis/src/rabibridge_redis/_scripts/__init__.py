"""What the server does in one step: scripts in Lua, which is what makes a refusal exact.

Each file is one script, and the names of all keys are in ``common.lua``. No script waits, and each does
a bounded amount.

A worker is woken by the script that queues a call, and asks for it by another one. The first could hand the call to an
idle worker at once, which would save a single call one of its ways to the server and back, about 60 of 320 µs. It does
not. A body must not go through a channel, whose connection the server closes when 32 MiB wait in it, so it would be
written a second time, to the inbox of the worker. A worker that stops, or has lost its session, would have to give back
what it never asked for. And how many calls it takes would be decided in two places. With many calls under way, one
question takes many of them, so that nothing would be saved.
"""
