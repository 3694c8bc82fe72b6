"""The program of child processes: what has to be done before anything of this package can be imported.

It is run by its path, so that nothing is imported that the worker has not; ``sys.path`` comes from the worker.
"""

from __future__ import annotations

if __name__ == "__main__":  # else it is imported by a process that the function has started by multiprocessing
    import json
    import socket
    import sys

    channel = socket.socket(fileno=int(sys.argv[1]))
    line = b""
    while not line.endswith(b"\n"):
        piece = channel.recv(1)
        if not piece:
            sys.exit(0)  # the worker is gone
        line += piece
    parent = int(sys.argv[2])
    sys.path[:], sys.argv[:] = json.loads(line)
    from rabibridge_core._hosting.child_main import main

    main(channel, parent)
