"""A server of RabiBridge 0.1.2 with one service; the test chooses name and limits.

Its first argument says what the service does: ``echo`` the second, ``who`` is it, ``boom``, or ``hold`` until stdin
brings a line. Out: ``{"event": "ready"}`` when its queue is there, ``{"event": "holding"}`` when a call is held.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
from typing import Any

output, sys.stdout = sys.stdout, sys.stderr  # 0.1.2 logs to stdout, as it was when it was imported

from rabibridge import RMQServer, register_call  # noqa: E402 - see above

released = asyncio.Event()


def write(message: dict[str, Any]) -> None:
    print(json.dumps(message), file=output, flush=True)


async def service(action: str, value: Any = None, *, times: int = 1) -> Any:
    if action == "boom":
        raise ValueError("boom of the peer")
    if action == "hold":
        write({"event": "holding"})
        await released.wait()
    if action == "who":
        return "0.1.2"
    return value * times if times > 1 else value


def watch_stdin(loop: asyncio.AbstractEventLoop) -> None:
    for _ in sys.stdin:
        loop.call_soon_threadsafe(released.set)
    os._exit(0)  # whoever started us is gone


async def main() -> None:
    config = json.loads(sys.argv[1])
    name, limits = config.pop("name"), config.pop("limits")
    threading.Thread(target=watch_stdin, args=(asyncio.get_running_loop(),), daemon=True).start()
    server = RMQServer(**config)
    server.load_services({name: register_call(**limits)(service)})
    async with server:
        write({"event": "ready"})
        await server.run_serve()


asyncio.run(main())
