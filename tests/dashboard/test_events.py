from __future__ import annotations

import asyncio
import json
import socket

from rabibridge._dashboard import event_stream
from rabibridge._dashboard.history import POINTS, History
from tests.dashboard.server import States, application, empty_state, serving
from tests.support.waiting import soon, until

GET_EVENTS = b"GET /api/events HTTP/1.1\r\nHost: localhost\r\n\r\n"


async def read_event(reader: asyncio.StreamReader) -> tuple[str, dict[str, object]]:
    while True:
        line = await soon(reader.readline())
        if line.startswith(b"event: "):
            name = line[7:].strip().decode()
            data = await soon(reader.readline())
            return name, json.loads(data.removeprefix(b"data: "))


async def test_the_first_event_has_everything_and_the_next_the_newest_state() -> None:
    states = States(empty_state(time=1.0))
    states.history.add(1.0, {"async add": {"rate": 5.0}})
    async with serving(application(states), states) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(GET_EVENTS)
        name, data = await read_event(reader)
        states.publisher.publish(empty_state(time=2.0))
        second = await read_event(reader)
        writer.close()
        await until(lambda: states.watched == 0)

    assert name == "everything"
    assert data["history"] == {"times": [1.0], "services": {"async add": {"rate": [5.0]}}}
    assert second == ("state", empty_state(time=2.0))


async def test_a_page_that_does_not_read_gets_the_newest_state_and_nothing_between() -> None:
    states = States(empty_state(time=0.0))
    large = ["x" * 1000] * 1000
    async with serving(application(states), states) as port:
        idle = socket.create_connection(("127.0.0.1", port))
        idle.sendall(GET_EVENTS)
        await until(lambda: states.publisher.streams == 1)
        for number in range(1, 101):  # 100 MB
            states.publisher.publish(empty_state(time=float(number), notes=large))
            await asyncio.sleep(0)
        reader, writer = await asyncio.open_connection(sock=idle, limit=2**24)
        times = [(await read_event(reader))[1].get("time") for _ in range(2)]
        while times[-1] != 100.0:
            times.append((await read_event(reader))[1].get("time"))
        writer.close()

    assert len(times) < 60


async def test_a_page_that_stays_away_is_dropped() -> None:
    states = States(empty_state())
    before, event_stream._SEND_TIMEOUT = event_stream._SEND_TIMEOUT, 0.5
    try:
        async with serving(application(states), states) as port:
            with socket.create_connection(("127.0.0.1", port)) as idle:
                idle.sendall(GET_EVENTS)
                await until(lambda: states.publisher.streams == 1)
                number = 0

                def dropped() -> bool:
                    nonlocal number
                    number += 1
                    states.publisher.publish(empty_state(time=float(number), notes=["x" * 100_000]))
                    return states.publisher.streams == 0

                await until(dropped)
    finally:
        event_stream._SEND_TIMEOUT = before

    assert states.watched == 0


async def test_one_page_too_many_is_told_to_come_back() -> None:
    states = States(empty_state())
    states.publisher.streams = event_stream.MAX_STREAMS
    async with serving(application(states), states) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(GET_EVENTS)
        head = await soon(reader.readuntil(b"\r\n\r\n"))
        writer.close()

    assert head.startswith(b"HTTP/1.1 503")
    assert b"retry-after" in head.lower()


def test_the_history_is_bounded_and_forgets_services_that_are_gone() -> None:
    history = History()
    for second in range(3 * POINTS):
        gone = {f"worker {second // 10}": {"rate": 1.0}}
        history.add(float(second), {"add": {"rate": float(second)}, **gone})
    found = history.to_json()

    assert len(found["times"]) == POINTS
    assert found["services"]["add"]["rate"] == [float(second) for second in range(2 * POINTS, 3 * POINTS)]
    assert len(found["services"]) <= POINTS // 10 + 2
    assert all(len(points["rate"]) == POINTS for points in found["services"].values())


def test_the_history_of_many_services_is_bounded() -> None:
    history = History()
    for _ in range(3):
        history.add(0.0, {f"service {number}": {"rate": 1.0} for number in range(5000)})

    assert len(history.to_json()["services"]) == 500
