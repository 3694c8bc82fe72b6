"""The ids and keys of calls: nobody can guess them, and no two processes draw the same."""

from __future__ import annotations

import asyncio
import multiprocessing
from itertools import islice

from rabibridge_core._client.idempotency import IdempotencyKeys
from rabibridge_core._client.ids import ID_BITS, correlation_ids
from tests.unit.client_support import begin, make_client, reply, sent
from tests.unit.scripted_transport import ScriptedTransport


def test_ids_are_random() -> None:
    assert ID_BITS >= 64
    ids = list(islice(correlation_ids(), 100_000))
    assert len(set(ids)) == len(ids)
    assert {len(one) for one in ids} == {12}
    for place in range(12):  # each character takes each of its 64 values about equally often
        counts = [0] * 128
        for one in ids:
            counts[one[place]] += 1
        used = [count for count in counts if count]
        assert len(used) == 64
        assert max(used) < 1.3 * min(used)


async def test_an_id_in_use_is_not_given_again(transport: ScriptedTransport) -> None:
    client = make_client(transport)
    await client.connect()
    held = begin(client)
    (kept,) = await sent(transport)
    client._ids = client.calls.ids = iter([kept, b"another"])
    call = begin(client)
    assert (await sent(transport, 2))[-1] == b"another"
    client.calls.replied(b"another", reply("new"))
    client.calls.replied(kept, reply("kept"))
    assert (await call, await held) == ("new", "kept")
    await client.close()


async def _draws(client_of_parent: bool) -> tuple[bytes, str]:
    transport = ScriptedTransport()
    client = _BEFORE if client_of_parent else make_client(transport)
    client.transport = transport
    await client.connect()
    call = begin(client, idempotent=True)
    (correlation_id,) = await sent(transport)
    headers = transport.sent[0].headers
    assert headers is not None
    client.calls.replied(correlation_id, reply(None))
    await call
    await client.close()
    return correlation_id, str(headers["rb-key"])


_BEFORE = make_client(ScriptedTransport())
_BEFORE.correlation_id  # noqa: B018 - something has been drawn when the process forks


def _child(queue: multiprocessing.SimpleQueue[tuple[bytes, str]]) -> None:
    queue.put(asyncio.run(_draws(client_of_parent=True)))


def test_a_client_that_is_made_before_a_fork_and_connected_after_it() -> None:
    context = multiprocessing.get_context("fork")
    queue: multiprocessing.SimpleQueue[tuple[bytes, str]] = context.SimpleQueue()
    children = [context.Process(target=_child, args=(queue,)) for _ in range(3)]
    for child in children:
        child.start()
    drawn = [queue.get() for _ in children]
    for child in children:
        child.join()
    assert len({correlation_id for correlation_id, _ in drawn}) == 3
    assert len({key for _, key in drawn}) == 3


def test_keys_do_not_repeat() -> None:
    keys = [IdempotencyKeys() for _ in range(2)]
    assert len({one.new() for one in keys for _ in range(100)}) == 200
