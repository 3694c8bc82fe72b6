"""Where a Redis for the tests comes from: ``python -m tools.redis_server --install --check``.

The first of these that works: what `rabibridge_testing.servers.provide_redis` finds; Docker Compose, with a daemon that
answers; Debian's package where that was asked for and we are root. Without options, it starts one, prints its URL and
runs until Ctrl-C.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from typing import TYPE_CHECKING

from rabibridge_testing._servers.redis import PrivateRedis, find_redis_server
from rabibridge_testing.servers import REDIS_URL_VARIABLE as URL_VARIABLE
from rabibridge_testing.servers import provide_redis
from tools.apt import apt_install
from tools.broker.compose import ComposeRedis, compose_works

if TYPE_CHECKING:
    from rabibridge_testing.servers import RedisServer

__all__ = ["URL_VARIABLE", "PrivateRedis", "find_redis_server", "provide_server"]


def provide_server() -> RedisServer | None:
    """Return a server, to be started and stopped as a context manager; ``None`` where none can be had."""
    server = provide_redis()
    return ComposeRedis() if server is None and compose_works() else server


def main() -> int:
    """Install or check or run a server; return 0 if there is one."""
    asked = sys.argv[1:]
    if os.environ.get(URL_VARIABLE):
        return 0
    server = provide_server()
    if server is None and "--install" in asked and apt_install("redis-server"):
        server = provide_server()
    if server is None:
        print(f"no Redis: install redis-server, valkey-server or Docker, or set {URL_VARIABLE}", file=sys.stderr)
        return 1
    if "--check" not in asked:
        with server, contextlib.suppress(KeyboardInterrupt):
            print(f"Redis runs at {server.url} (Ctrl-C stops it)", flush=True)
            signal.pause()
    return 0


if __name__ == "__main__":
    sys.exit(main())
