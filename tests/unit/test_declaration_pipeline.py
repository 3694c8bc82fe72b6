"""Declarations of many services on few channels: each ends as it would alone, and none waits for another in vain."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from aiormq import exceptions as amqp
from pamqp import commands as spec

from rabibridge._amqp.control_methods import BIND_OK, bind_queue, declare_queue
from rabibridge._connection.declaration_pipeline import DeclarationPipeline
from rabibridge_core.errors import ConfigurationError, ConnectionLostError
from tests.support.scripted_broker import STUCK, Peer, PeerConnection, methods_of
from tests.support.sessions import connected
from tests.support.waiting import soon, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from rabibridge._connection.session import Session

_SLOW_AFTER = "rabibridge._connection.declaration_pipeline._SLOW_AFTER"


@pytest.fixture
async def peer() -> AsyncIterator[Peer]:
    async with Peer() as peer:
        yield peer


@pytest.fixture
async def session(peer: Peer) -> AsyncIterator[Session]:
    session = await connected(peer.url)
    yield session
    await soon(session.close())


def _declaring(answers: Callable[[str], Any]) -> Callable[[PeerConnection, int, Any], Any]:
    """Return the script of a peer that gives these answers to the declarations of queues, by name."""

    def script(connection: PeerConnection, channel: int, frame: Any) -> Any:
        return answers(frame.queue) if isinstance(frame, spec.Queue.Declare) else None

    return script


def _methods(name: str) -> Sequence[bytes]:
    return declare_queue(name, {}), bind_queue(name, "rpc", name, nowait=False)


def _start(pipeline: DeclarationPipeline, names: Sequence[str]) -> dict[str, asyncio.Task[None]]:
    def declare(name: str) -> asyncio.Task[None]:
        return asyncio.ensure_future(pipeline.request(lambda: _methods(name), BIND_OK))

    return {name: declare(name) for name in names}


def _declared(peer: Peer) -> list[str]:
    return [frame.queue for frame in methods_of(peer.connections[0], spec.Queue.Declare)]


def _refusal(code: int, text: str) -> tuple[spec.Channel.Close]:
    return (spec.Channel.Close(code, text, 50, 10),)


NAMES = [f"queue_{number}" for number in range(100)]


async def test_all_are_sent_before_the_first_is_answered(peer: Peer, session: Session) -> None:
    peer.script = _declaring(lambda _: STUCK)
    pending = _start(DeclarationPipeline(session), NAMES)
    await until(lambda: len(peer.connections[0].stuck) == 16 and set(NAMES) <= set(_declared(peer)))
    session.fail(ConnectionLostError("cut"))
    ends = await soon(asyncio.gather(*pending.values(), return_exceptions=True))
    assert {type(end) for end in ends} == {ConnectionLostError}


async def test_each_refusal_is_raised_by_the_one_that_is_to_blame(peer: Peer, session: Session) -> None:
    kinds = {
        403: amqp.ChannelAccessRefused, 404: amqp.ChannelNotFoundEntity,
        405: amqp.ChannelLockedResource, 406: amqp.ChannelPreconditionFailed,
    }  # fmt: skip
    bad = {name: 403 + number % 4 for number, name in enumerate(NAMES) if number % 7 == 3}
    peer.script = _declaring(lambda name: _refusal(bad[name], f"no {name}") if name in bad else None)
    pending = _start(DeclarationPipeline(session), NAMES)
    await soon(asyncio.wait(pending.values()))
    for name, task in pending.items():
        error = task.exception()
        if name in bad:
            assert type(error) is kinds[bad[name]]
            assert str(error) == f"no {name}"
        else:
            assert error is None
    assert session.error is None


async def test_what_must_be_sent_again_is_asked_for_anew(peer: Peer, session: Session) -> None:
    """A service may have found out meanwhile that its user may not do something."""
    peer.script = _declaring(lambda name: _refusal(403, "no") if name == "refused" else None)
    pipeline = DeclarationPipeline(session)
    asked: list[int] = []

    def methods() -> Sequence[bytes]:
        asked.append(1)
        return _methods("allowed")

    in_front = [asyncio.ensure_future(pipeline.request(lambda: _methods("refused"), BIND_OK)) for _ in range(16)]
    await asyncio.sleep(0)
    await soon(pipeline.request(methods, BIND_OK))
    assert len(asked) == 2
    ends = await soon(asyncio.gather(*in_front, return_exceptions=True))
    assert {type(end) for end in ends} == {amqp.ChannelAccessRefused}


async def test_none_waits_behind_one_that_is_not_answered(
    peer: Peer, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_SLOW_AFTER, 0.1)
    stuck = set(NAMES[5:60:3])  # more than there are channels
    peer.script = _declaring(lambda name: STUCK if name in stuck else None)
    pending = _start(DeclarationPipeline(session), NAMES)
    await soon(asyncio.wait([task for name, task in pending.items() if name not in stuck]))
    assert all(task.result() is None for name, task in pending.items() if name not in stuck)
    assert not any(pending[name].done() for name in stuck)
    for name in stuck:
        pending[name].cancel()
    await soon(asyncio.wait(pending.values()))


async def test_a_late_answer_is_taken(peer: Peer, session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_SLOW_AFTER, 0.1)
    peer.script = _declaring(lambda name: STUCK if name == "late" else None)
    pipeline = DeclarationPipeline(session)
    late = _start(pipeline, ["late"])["late"]
    await until(lambda: _declared(peer) == ["late"])
    (number,) = peer.connections[0].stuck
    await soon(asyncio.wait(_start(pipeline, NAMES).values()))
    assert not late.done()
    peer.connections[0].stuck.clear()
    peer.connections[0].send(number, spec.Queue.BindOk())
    await soon(late)
    await until(lambda: not session.multiplexer.channels)


async def test_a_connection_that_is_lost_already(peer: Peer, session: Session) -> None:
    session.fail(ConnectionLostError("cut"))
    with pytest.raises(ConnectionLostError, match="cut") as raised:
        await soon(DeclarationPipeline(session).request(lambda: _methods("q"), BIND_OK))
    assert raised.value.executed is False


async def test_channels_are_closed_when_none_is_needed(peer: Peer, session: Session) -> None:
    pipeline = DeclarationPipeline(session)
    for _ in range(3):
        await soon(asyncio.wait(_start(pipeline, NAMES).values()))
        await until(lambda: not session.multiplexer.channels)
    opened, closed = (methods_of(peer.connections[0], kind) for kind in (spec.Channel.Open, spec.Channel.Close))
    assert len(opened) == len(closed) == 48


async def test_one_after_the_other_they_use_one_channel(peer: Peer, session: Session) -> None:
    pipeline = DeclarationPipeline(session)
    for name in NAMES:
        await soon(pipeline.request(lambda name=name: _methods(name), BIND_OK))  # type: ignore[misc]
    assert len(methods_of(peer.connections[0], spec.Channel.Open)) < 10  # one, unless this machine stands still
    assert _declared(peer) == NAMES


async def test_a_cancelled_one_harms_no_other(peer: Peer, session: Session) -> None:
    pipeline = DeclarationPipeline(session)
    pending = _start(pipeline, NAMES)
    await asyncio.sleep(0)
    for name in NAMES[::2]:
        pending[name].cancel()
    await soon(asyncio.wait(pending.values()))
    assert [task.cancelled() for task in pending.values()] == [True, False] * 50
    assert all(pending[name].exception() is None for name in NAMES[1::2])
    await until(lambda: not session.multiplexer.channels)
    assert session.error is None


async def test_as_many_channels_as_are_allowed(peer: Peer) -> None:
    def script(connection: PeerConnection, channel: int, frame: Any) -> Any:
        return (spec.Connection.Tune(2, 131072, 60),) if isinstance(frame, spec.Connection.StartOk) else None

    peer.script = script
    session = await connected(peer.url)
    pipeline = DeclarationPipeline(session)
    await soon(asyncio.gather(*_start(pipeline, NAMES).values()))
    assert {channel for channel, _ in peer.connections[0].heard} == {0, 1}  # one is left for others
    await until(lambda: not session.multiplexer.channels)
    others = [await soon(session.open_channel()) for _ in range(2)]
    assert {other.number for other in others} == {1, 2}
    with pytest.raises(ConfigurationError, match="all 2 channels"):
        await soon(pipeline.request(lambda: _methods("q"), BIND_OK))
    await soon(session.close())


async def test_without_another_channel_they_wait_for_one_that_is_not_answered(
    peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_SLOW_AFTER, 0.05)

    def script(connection: PeerConnection, channel: int, frame: Any) -> Any:
        if isinstance(frame, spec.Queue.Declare) and frame.queue == "stuck":
            return STUCK
        return (spec.Connection.Tune(1, 131072, 60),) if isinstance(frame, spec.Connection.StartOk) else None

    peer.script = script
    session = await connected(peer.url)
    pending = _start(DeclarationPipeline(session), ["stuck", "behind"])
    await until(lambda: _declared(peer).count("behind") > 2)  # it has been sent again, on the same channel
    assert not any(task.done() for task in pending.values())
    peer.connections[0].send(1, spec.Queue.BindOk())
    await soon(pending["stuck"])
    await soon(session.close())
    await soon(asyncio.wait(pending.values()))


async def test_while_the_broker_reads_nothing_nothing_is_sent_again(
    peer: Peer, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_SLOW_AFTER, 0.02)
    peer.script = _declaring(lambda _: STUCK)
    peer.connections[0].send(0, spec.Connection.Blocked("low on memory"))
    await until(lambda: session.multiplexer.blocked is not None)
    pending = _start(DeclarationPipeline(session), NAMES)
    await until(lambda: len(_declared(peer)) == len(NAMES))
    await asyncio.sleep(0.2)
    assert sorted(_declared(peer)) == sorted(NAMES)
    session.fail(ConnectionLostError("cut"))
    await soon(asyncio.wait(pending.values()))
