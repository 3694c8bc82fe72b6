"""Programs that use the synchronous client, for tests of how they end, fork and are interrupted.

They report in lines of JSON. The environment gives RABIBRIDGE_URL; PROGRAM, the name of the function to run; SERVICE,
the name of a service that returns how often it was called; HOLD, that of one that never returns; LOOP, the kind of the
event loop.
"""

from __future__ import annotations

import asyncio
import atexit
import json
import multiprocessing
import os
import signal
import sys
import threading
import time
from typing import Any


def report(**values: Any) -> None:
    os.write(1, (json.dumps({"pid": os.getpid(), **values}) + "\n").encode())


def at_exit_before_the_import() -> None:
    if "before" in os.environ["PROGRAM"]:
        report(late=attempt(_client[0]))


atexit.register(at_exit_before_the_import)

# ruff: noqa: E402
from rabibridge import RabiBridgeError
from rabibridge.sync import Client

_SERVICE, _HOLD = os.environ["SERVICE"], os.environ["HOLD"]
_PATIENCE = 90.0
_client: list[Client] = []


def new_client(**options: Any) -> Client:
    if os.environ.get("LOOP") == "asyncio":
        options["loop_factory"] = asyncio.new_event_loop
    _client.append(Client(**options))
    return _client[0]


def attempt(client: Client) -> Any:
    try:
        return client.remote_call(_SERVICE, timeout=_PATIENCE)
    except RabiBridgeError as error:
        return f"{type(error).__name__}: {error}"


def hold(client: Client) -> Any:
    try:
        return client.remote_call(_HOLD, timeout=4 * _PATIENCE)
    except RabiBridgeError as error:
        return f"{type(error).__name__}: {error}"


def hold_in_a_thread(client: Client, *, daemon: bool = True) -> threading.Thread:
    thread = threading.Thread(target=lambda: report(held=hold(client)), daemon=daemon)
    thread.start()
    while not client.pending:
        time.sleep(0.01)
    return thread


def ends() -> None:
    """Call and just end, without close."""
    report(result=attempt(new_client()))


def ends_with_3() -> None:
    report(result=attempt(new_client()))
    sys.exit(3)


def ends_in_flight() -> None:
    """End while a daemon thread waits for a call."""
    client = new_client()
    report(result=attempt(client))
    thread = threading.Thread(target=client.remote_call, args=(_HOLD,), daemon=True)
    thread.start()
    while not client.pending:
        time.sleep(0.01)


def calls_at_exit() -> None:
    """Call from handlers of atexit, for the second time."""
    client = new_client()
    report(result=attempt(client))
    atexit.register(lambda: report(exit=[attempt(client), attempt(client)]))


def first_calls_at_exit() -> None:
    client = new_client()
    atexit.register(lambda: report(exit=[attempt(client), attempt(client)]))


def calls_at_exit_before_the_import() -> None:
    """Let a handler of atexit call that was registered first, and so runs after everything is closed."""
    report(result=attempt(new_client()))


def calls_after_main() -> None:
    """Call in a thread that outlives the main thread."""
    client = new_client()
    report(result=attempt(client))

    def work() -> None:
        threading.main_thread().join()
        report(after=[attempt(client), attempt(client)])

    threading.Thread(target=work).start()


def first_calls_after_main() -> None:
    client = new_client()

    def work() -> None:
        threading.main_thread().join()
        report(after=[attempt(client), attempt(client)])

    threading.Thread(target=work).start()


def ends_while_it_reconnects() -> None:
    client = new_client()
    report(result=attempt(client))
    sys.stdin.readline()
    while client.state.value == "ready":
        time.sleep(0.01)
    report(state=client.state.value)
    sys.stderr.flush()


def interrupted() -> None:
    """Wait for a call until Ctrl-C; nothing more is sent after it was raised."""
    client = new_client()
    client.connect()
    report(ready=True)
    try:
        client.remote_call(_HOLD, timeout=4 * _PATIENCE)
    except KeyboardInterrupt:
        os._exit(7)


def forks() -> None:
    """Fork while a call is in flight in another thread: child and grandchild call, and end as programs do."""
    client = new_client()
    report(result=attempt(client), name=client.name)
    thread = hold_in_a_thread(client)
    if os.fork() == 0:
        report(child=attempt(client), name=client.name, pending=client.pending)
        if os.fork() == 0:
            report(grandchild=attempt(client), name=client.name)
            sys.exit(0)
        os.wait()
        report(child=attempt(client), name=client.name)
        sys.exit(0)
    _, status = os.wait()
    for _ in range(2):  # some that never use the client, by either way out
        if os.fork() == 0:
            sys.exit(0)
        os.wait()
        if os.fork() == 0:
            os._exit(0)
        os.wait()
    report(status=status, result=attempt(client), name=client.name, pending=client.pending)
    sys.stdin.readline()
    thread.join(_PATIENCE)


def forks_often() -> None:
    """Fork again and again while 16 threads call; some of the children call, too."""
    client = new_client()
    client.connect()
    stop = threading.Event()
    failed: list[Any] = []

    def work() -> None:
        while not stop.is_set():
            result = attempt(client)
            if not isinstance(result, int):
                failed.append(result)

    threads = [threading.Thread(target=work) for _ in range(16)]
    for thread in threads:
        thread.start()
    statuses = set()
    for number in range(int(os.environ["FORKS"])):
        if os.fork() == 0:
            os._exit(0 if number % 10 or isinstance(attempt(client), int) else 1)
        statuses.add(os.wait()[1])
    stop.set()
    for thread in threads:
        thread.join(_PATIENCE)
    report(failed=failed[:5], statuses=sorted(statuses), alive=sum(thread.is_alive() for thread in threads))


def forks_in_a_signal_handler() -> None:
    """Fork in the middle of a wait: the child cannot get that reply."""
    client = new_client()
    client.connect()
    parent = os.getpid()

    def on_signal(number: int, frame: object) -> None:
        os.fork()

    signal.signal(signal.SIGUSR1, on_signal)
    report(ready=True)
    try:
        client.remote_call(_HOLD, timeout=6.0)
    except RabiBridgeError as error:
        if os.getpid() == parent:
            os.wait()
        report(parent=os.getpid() == parent, error=f"{type(error).__name__}: {error}", again=attempt(client))


def multiprocessing_children() -> None:
    client = new_client()
    report(name=client.name, result=attempt(client))
    with multiprocessing.get_context("fork").Pool(3) as pool:
        pool.map(in_a_child, range(3), chunksize=1)
    report(name=client.name, result=attempt(client))


def in_a_child(number: int) -> None:
    report(name=_client[0].name, result=attempt(_client[0]))
    time.sleep(0.2)


def starts_programs() -> None:
    """Start many programs by asyncio beside a client that is in use."""
    client = new_client()
    report(name=client.name, result=attempt(client))
    stop = threading.Event()
    failed: list[Any] = []

    def work() -> None:
        while not stop.is_set():
            result = attempt(client)
            if not isinstance(result, int):
                failed.append(result)

    async def start() -> None:
        for _ in range(int(os.environ["FORKS"])):
            process = await asyncio.create_subprocess_exec("/bin/true")
            assert await process.wait() == 0

    thread = threading.Thread(target=work)
    thread.start()
    if os.environ.get("LOOP") == "asyncio":
        asyncio.run(start())
    else:
        import uvloop

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(start())
    stop.set()
    thread.join(_PATIENCE)
    report(name=client.name, failed=failed[:5], result=attempt(client))


if __name__ == "__main__":
    globals()[os.environ["PROGRAM"]]()
