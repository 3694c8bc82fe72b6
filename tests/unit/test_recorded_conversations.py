"""What fake_broker.record() writes, and what fake_broker.replay() answers with."""

from __future__ import annotations

import asyncio
import json
import stat
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from rabibridge import (
    CallTimeoutError,
    InvalidArgumentsError,
    NoRouteError,
    QueueFullError,
    RemoteExecutionError,
    RMQClient,
    ServiceError,
)
from rabibridge_testing import FakeBroker, RecordingError, fake_broker_context

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path


class OutOfStockError(ServiceError, code="recorded.out-of-stock"):
    left: int = 0


async def outcome(call: Awaitable[Any]) -> Any:
    """Return a result, or what its error says."""
    try:
        return await call
    except (RemoteExecutionError, QueueFullError, NoRouteError) as error:
        told = str(error).replace(getattr(error, "correlation_id", "") or "no id", "ID")
        return type(error), told, getattr(error, "error_types", ()), getattr(error, "fields", None)


async def conversation(client: RMQClient) -> list[Any]:
    """One call of every sort, and what each ended with."""

    async def numbers() -> AsyncIterator[int]:
        for number in (1, 2, 3):
            yield number

    found = [await outcome(client.call("next_number", "a")) for _ in range(3)]
    found += await asyncio.gather(*(client.call("square", number) for number in range(50)))
    found.append([item async for item in client.stream("count", 3)])
    found.append(await outcome(client.call("divide", 1, 0)))
    found.append(await outcome(client.call("divide", 1)))
    found.append(await outcome(client.call("buy", article="nut")))
    found.append(await outcome(client.call("busy")))
    found.append(await outcome(client.call("nobody")))
    found.append(await client.call("total", numbers()))
    found.append(await client.call("values", {"day": date(2024, 5, 17), "price": Decimal("1.50"), "raw": b"\0"}))
    found.append(await client.call("values", {b"k": float("inf"), "$map": []}))
    await client.notify("square", 4)
    return found


def serve(broker: FakeBroker) -> None:
    numbers = iter(range(3))

    async def next_number(name: str) -> int:
        return next(numbers)

    async def square(number: int) -> int:
        return number * number

    async def count(limit: int) -> AsyncIterator[int]:
        for number in range(limit):
            yield number

    async def divide(one: int, other: int) -> float:
        return one / other

    async def buy(article: str) -> None:
        raise OutOfStockError(left=3)

    async def total(numbers: AsyncIterator[int]) -> int:
        return sum([number async for number in numbers])

    async def values(value: Any) -> Any:
        return value

    broker.add_service(buy, raises=(OutOfStockError,))
    for function in (next_number, square, count, divide, total, values):
        broker.add_service(function)
    broker.stub("busy", raises=QueueFullError)


@pytest.fixture
def recorded(tmp_path: Path) -> tuple[Path, list[Any]]:
    """A file, and what the calls in it ended with."""
    path = tmp_path / "conversation.json"

    async def main() -> list[Any]:
        async with RMQClient() as client:
            with broker.record(path):
                return await conversation(client)

    with fake_broker_context() as broker:
        serve(broker)
        found = asyncio.run(main())
    return path, found


def replayed(path: Path, run: Callable[[RMQClient], Awaitable[Any]], *, strict: bool = False, **options: Any) -> Any:
    async def main() -> Any:
        async with RMQClient() as client:
            return await run(client)

    with fake_broker_context(strict=strict) as broker:
        broker.replay(path, **options)
        return asyncio.run(main())


def test_every_call_ends_as_it_did(recorded: tuple[Path, list[Any]]) -> None:
    path, found = recorded
    assert replayed(path, conversation, strict=True) == found
    assert found[:3] == [0, 1, 2]
    assert (OutOfStockError, {"left": 3}) in [(one[0], one[3]) for one in found if isinstance(one, tuple)]
    assert InvalidArgumentsError in [one[0] for one in found if isinstance(one, tuple)]


def test_another_recording_is_the_same_file_that_only_its_owner_reads(recorded: tuple[Path, list[Any]]) -> None:
    path, _ = recorded
    before = path.read_text()
    test_record_again = path.with_name("again.json")

    async def main() -> None:
        async with RMQClient() as client:
            with broker.record(test_record_again):
                await conversation(client)

    with fake_broker_context() as broker:
        serve(broker)
        asyncio.run(main())
    assert test_record_again.read_text() == before
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert '{"service": "square", "args": [7], "result": [49]}' in before
    assert json.loads(before)["rabibridge_recording"] == 1


def test_the_order_of_other_calls_does_not_matter(recorded: tuple[Path, list[Any]]) -> None:
    async def backwards(client: RMQClient) -> list[Any]:
        return await asyncio.gather(*(client.call("square", number) for number in reversed(range(50))))

    assert replayed(recorded[0], backwards) == [number * number for number in reversed(range(50))]


def test_a_call_that_is_used_up_or_was_never_recorded_says_so(recorded: tuple[Path, list[Any]]) -> None:
    async def too_many(client: RMQClient) -> list[Any]:
        for _ in range(3):
            await client.call("next_number", "a")
        return [await outcome(client.call(*call)) for call in (("next_number", "a"), ("buy", "nut"), ("square", 70))]

    used_up, other, unknown = replayed(recorded[0], too_many)
    assert "next_number(\"a\") is used up: 3 of 3 that 'conversation.json' holds were replayed" in used_up[1]
    assert '\'conversation.json\' holds no call buy("nut"). The nearest is buy(article="nut"):' in other[1]
    assert '- {"article": "nut"}' in other[1]
    assert '+ "nut"' in other[1]
    assert "holds no call square(70). The nearest is square(7" not in unknown[1]
    assert "The nearest is square(0)" in unknown[1]


def test_a_strict_broker_fails_for_what_differs_from_the_recording(recorded: tuple[Path, list[Any]]) -> None:
    async def other(client: RMQClient) -> None:
        await outcome(client.call("divide", 2, 0))

    with pytest.raises(AssertionError, match=r"holds no call divide\(2, 0\)") as failure:
        replayed(recorded[0], other, strict=True)
    assert "recorded in 'conversation.json', and not called: next_number(\"a\")" in str(failure.value)


def test_calls_without_an_answer_get_none(tmp_path: Path) -> None:
    path = tmp_path / "slow.json"

    async def slow(client: RMQClient) -> None:
        with pytest.raises(CallTimeoutError):
            await client.remote_call("slow", timeout=0.05)

    async def main() -> None:
        async with RMQClient() as client:
            with broker.record(path):
                await slow(client)

    with fake_broker_context() as broker:
        broker.stub("slow", raises=CallTimeoutError)
        asyncio.run(main())
    assert json.loads(path.read_text())["calls"] == [{"service": "slow", "kind": "async", "unanswered": "expired"}]
    replayed(path, slow, strict=True)


SECRET = "marker-of-a-secret"


async def log_in(user: str, password: str) -> dict[str, str]:
    if password == "wrong-password":
        raise ValueError(f"{password} is not the password of {user}")
    return {"token": SECRET, "user": user, "hint": f"amqp://{user}:{SECRET}@broker/"}


async def log_in_twice(client: RMQClient) -> list[Any]:
    headers = {"Authorization": f"Bearer {SECRET}", "tenant": "a"}
    return [
        await client.options(headers=headers).call("log_in", "ada", SECRET),
        await outcome(client.call("log_in", "ada", password="wrong-password")),
        await client.call("note", {"api-key": SECRET, b"k": {"cookie": SECRET}, "nested": [{"private_key": SECRET}]}),
        await client.call("note", text=f"redis://user:{SECRET}@host"),
        await client.call("note", card=SECRET),
    ]


async def note(*values: Any, **named: Any) -> None:
    pass


def test_secrets_are_not_written(tmp_path: Path) -> None:
    path = tmp_path / "secrets.json"

    async def main() -> None:
        async with RMQClient(url=f"amqp://ada:{SECRET}@nowhere.invalid/") as client:
            with broker.record(path, redact=["card"]):
                await log_in_twice(client)

    with fake_broker_context() as broker:
        broker.add_service(log_in)
        broker.add_service(note)
        asyncio.run(main())
    text = path.read_text()
    assert SECRET not in text
    assert "wrong-password" not in text
    first = json.loads(text)["calls"][0]
    assert first["args"] == ["ada", "<redacted>"]
    assert first["headers"] == {"Authorization": "<redacted>", "tenant": "a"}
    found = replayed(path, log_in_twice, strict=True, redact=["card"], functions=[log_in])
    assert found[0] == {"token": "<redacted>", "user": "ada", "hint": "amqp://ada:<redacted>@broker/"}
    assert "<redacted> is not the password of ada" in found[1][1]


def test_nothing_is_written_if_the_block_fails(tmp_path: Path, fake_broker: FakeBroker) -> None:
    path = tmp_path / "none.json"
    with pytest.raises(ZeroDivisionError), fake_broker.record(path):
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("no JSON", "is not JSON"),
        ("{}", "is no recorded conversation"),
        ('{"rabibridge_recording": 99}', "is of version 99, and this is for version 1"),
        ('{"rabibridge_recording": 1, "calls": [{"service": "add", "resul": 1}]}', "call 1, of 'add', has resul"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, fake_broker: FakeBroker, text: str, why: str) -> None:
    path = tmp_path / "other.json"
    path.write_text(text)
    with pytest.raises(RecordingError, match=why):
        fake_broker.replay(path)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path, fake_broker: FakeBroker) -> None:
    with pytest.raises(RecordingError, match=r"record it with fake_broker\.record"):
        fake_broker.replay(tmp_path / "none.json")
