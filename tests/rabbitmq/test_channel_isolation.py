"""A channel that the broker closes takes with it what came on it, and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rabibridge._amqp.methods import ack
from rabibridge_core.transport import ConnectionState, Reply
from rabibridge_testing.conformance.harness import Worker, request_to
from tests.rabbitmq.support import ctl, vhost_of
from tests.support.waiting import soon, until, until_true

if TYPE_CHECKING:
    from rabibridge._transport.consumer import RabbitConsumer
    from rabibridge_core.transport import IncomingRequest
    from rabibridge_testing.conformance.harness import Bench
    from tools.broker import Broker

EMPTY = Reply(b"", None, None)


def _close_channel_of(consumer: RabbitConsumer) -> None:
    """Have the broker close the channel with 406, as it does when a request was in hand for too long."""
    assert consumer.channel is not None
    consumer.channel.write(ack(consumer.channel.number, 2**40))


async def _in_flight(worker: Worker, count: int) -> dict[bytes, IncomingRequest]:
    requests = [await worker.next() for _ in range(count)]
    return {bytes(request.correlation_id): request for request in requests}


async def test_only_the_requests_of_the_closed_channel_are_void(bench: Bench, governed: Broker, vhost_url: str) -> None:
    transport: Any = await bench.transport()
    one, other = bench.queue(redelivery_limit=5), bench.queue(redelivery_limit=5)
    worker, bystander = Worker(), Worker()
    consumer = await soon(transport.serve(one, worker))
    await soon(transport.serve(other, bystander))
    caller, inbox = await bench.caller()
    for queue, name in ((one, b"a"), (one, b"b"), (other, b"c")):
        caller.send(request_to(queue, name))
    before, beside = await _in_flight(worker, 2), await bystander.next()

    first = consumer.channel
    # Its queue is deleted: those in hand can still be answered, on a channel that takes nothing more.
    await ctl(governed, "delete_queue", "-p", vhost_of(vhost_url), one.name)
    await soon(worker.losses.get())
    await until(lambda: consumer.live and consumer.channel is not first)
    for name in (b"d", b"e"):
        caller.send(request_to(one, name))
    after = await _in_flight(worker, 2)
    after[b"d"].accept()
    _close_channel_of(consumer)
    await soon(worker.losses.get())
    assert after[b"e"].void
    assert not after[b"d"].void
    assert not any(request.void for request in (*before.values(), beside))
    assert transport.state is ConnectionState.READY
    assert bystander.losses.empty()

    again = await worker.next()
    assert (again.correlation_id, again.deliveries) == (b"e", 1)
    await until(lambda: consumer.live)
    for request in (*before.values(), beside, *after.values(), again):
        request.reply(EMPTY)
    answered = sorted([(await soon(inbox.replies.get()))[0] for _ in range(5)])
    assert answered == [b"a", b"b", b"c", b"d", b"e"]
    assert inbox.replies.empty()


async def test_closed_again_and_again_it_leaves_no_channel_behind(
    bench: Bench, governed: Broker, vhost_url: str
) -> None:
    async def channels() -> int:
        rows = await ctl(governed, "list_connections", "vhost", "channels")
        return sum(int(count) for vhost, count in rows if vhost == vhost_of(vhost_url))

    transport: Any = await bench.transport()
    queue, worker = bench.queue(), Worker()
    consumer = await soon(transport.serve(queue, worker))
    caller, inbox = await bench.caller()
    before = await channels()
    for number in range(6):
        _close_channel_of(consumer)
        await soon(worker.losses.get())
        caller.send(request_to(queue, b"%d" % number))
        (await worker.next()).reply(EMPTY)
        assert (await soon(inbox.replies.get()))[0] == b"%d" % number

    async def none_is_left_behind() -> bool:  # the last one for declarations closes soon
        return await channels() <= before

    await until_true(none_is_left_behind)
