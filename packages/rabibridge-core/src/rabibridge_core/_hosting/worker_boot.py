"""The program of worker processes: what has to be done before anything of this package can be imported.

It is run by its path, so that nothing is imported that the supervisor has not; ``sys.path`` comes from the supervisor.
"""

from __future__ import annotations

if __name__ == "__main__":
    import os
    import signal

    # A signal that comes before there is anything to stop ends the process without a traceback. Those that control the
    # supervisor may be sent to the whole process group; as they are not SIG_IGN, programs that the worker starts have
    # their defaults. The supervisor has blocked all of them for the first moments of this process.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, frame: os._exit(128 + number))
    for number in (signal.SIGHUP, signal.SIGTTIN, signal.SIGTTOU, signal.SIGUSR1):
        signal.signal(number, lambda number, frame: None)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())

    import json
    import socket
    import sys

    channel = socket.socket(fileno=int(sys.argv[1]))
    line = b""
    while not line.endswith(b"\n"):
        piece = channel.recv(65536)
        if not piece:
            sys.exit(0)  # the supervisor is gone
        line += piece  # it writes nothing more before it is answered
    told = json.loads(line)
    sys.path[:], sys.argv[:] = told["path"], told["argv"]
    from rabibridge_core._hosting.worker_main import main

    main(channel, told)
