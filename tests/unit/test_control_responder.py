"""A worker that is asked by many at once, or by somebody who sends garbage: its answers cost little."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

from rabibridge_core._server.control import WAITING_MAX, ControlResponder
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable

    from rabibridge_core._protocol.control import ControlQuestion
    from rabibridge_core.transport import Headers, Reply


class Asked:
    """A control request that keeps its answers."""

    def __init__(self, what: bytes) -> None:
        self.user, self.correlation_id, self.content_encoding = "", b"1", None
        self.content_type: str | None = "application/json"
        self.headers: Headers = {}
        self.reply_address = b"asker"
        self.body = what
        self.replies: list[Reply] = []

    def reply(self, reply: Reply, /) -> None:
        self.replies.append(reply)


class Source:
    """Counts how often it is asked."""

    def __init__(self) -> None:
        self.collected = 0
        self.described = 0

    restricted = False

    async def hidden_from(self, user: str) -> frozenset[str]:
        return frozenset()

    def pong(self) -> dict[str, Any]:
        return {"pid": 1}

    def status(self, service: str, hidden: frozenset[str]) -> dict[str, Any]:
        self.collected += 1
        return {"services": [service] if service not in hidden else []}

    def descriptions(self, service: str, hidden: frozenset[str]) -> Callable[[], list[dict[str, Any]]]:
        self.described += 1
        return lambda: [{"name": service}]

    def calls(self, service: str, hidden: frozenset[str]) -> Callable[[], dict[str, Any]]:
        return lambda: {"calls": []}

    def places(self, question: ControlQuestion, hidden: frozenset[str]) -> dict[str, Any]:
        self.collected += 1
        return {"places": 2, "held": len(question.holders)}


def _responder() -> tuple[ControlResponder, Source]:
    source = Source()
    return ControlResponder("worker", source), source


async def test_a_flood_is_answered_in_turns_and_bounded() -> None:
    responder, _ = _responder()
    flood = [Asked(b'{"do": "ping"}') for _ in range(WAITING_MAX + 500)]
    for request in flood:
        responder.received(request)
    assert not any(request.replies for request in flood)  # nothing is answered where it arrives
    turns = 0
    while not flood[WAITING_MAX - 1].replies:
        await asyncio.sleep(0)
        turns += 1
    assert turns >= WAITING_MAX  # others have their turn between two answers
    assert sum(len(request.replies) for request in flood) == WAITING_MAX
    responder.close()


async def test_what_was_just_told_is_told_again() -> None:
    responder, source = _responder()
    asked = [Asked(b'{"do": "status"}') for _ in range(50)]
    for request in asked:
        responder.received(request)
    await until(lambda: all(request.replies for request in asked))
    assert source.collected < 50
    bodies = {bytes(request.replies[0].body) for request in asked}
    assert all(json.loads(body)["worker"]["id"] == responder.id for body in bodies)
    responder.close()


async def test_others_are_meant() -> None:
    responder, _ = _responder()
    other, named, by_id = (
        Asked(json.dumps({"do": "ping", "worker": worker}).encode()) for worker in ("other", "worker", responder.id)
    )
    for request in (other, named, by_id):
        responder.received(request)
    await until(lambda: bool(by_id.replies))
    assert (len(other.replies), len(named.replies)) == (0, 1)
    responder.close()


async def test_garbage_is_refused_and_the_next_one_answered() -> None:
    responder, _ = _responder()
    garbage = [b"", b"[]", b"{", b"null", b'{"do": 1}', b'{"do": "ping", "worker": 7}', b"\xff", b"[" * 60_000]
    asked = [Asked(body) for body in garbage]
    last = Asked(b'{"do": "ping"}')
    for request in (*asked, last):
        responder.received(request)
    await until(lambda: bool(last.replies))
    assert all("refused" in json.loads(request.replies[0].body) for request in asked)
    assert json.loads(last.replies[0].body) == {"pid": 1}
    responder.close()


async def test_a_closed_one_answers_nobody() -> None:
    responder, _ = _responder()
    request = Asked(b'{"do": "ping"}')
    responder.received(request)
    responder.close()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not request.replies


async def test_who_holds_places_is_never_told_again_but_collected_anew() -> None:
    responder, source = _responder()
    holders = [f"worker.{number}" for number in range(64)]
    asked = [Asked(json.dumps({"do": "places", "service": "a", "holders": holders[:2]}).encode()) for _ in range(2)]
    for request in asked:
        responder.received(request)
    await until(lambda: all(request.replies for request in asked))
    assert [json.loads(request.replies[0].body)["held"] for request in asked] == [2, 2]
    assert source.collected == 2
    responder.close()


async def test_a_question_about_places_is_bounded() -> None:
    responder, source = _responder()
    too_many = [f"worker.{number}" for number in range(65)]
    asked = [
        Asked(json.dumps({"do": "places", "service": "a", "holders": holders}).encode())
        for holders in (too_many, "worker.1", {"a": 1})
    ]
    for request in asked:
        responder.received(request)
    await until(lambda: all(request.replies for request in asked))
    assert all("at most 64" in json.loads(request.replies[0].body)["refused"] for request in asked)
    assert not source.collected
    responder.close()
