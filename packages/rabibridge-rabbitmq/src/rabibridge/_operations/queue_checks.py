"""Checks of queues: those of services against what their program says, those without workers, and dead letters."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiormq import exceptions as amqp

from rabibridge._connection.error_translation import translated
from rabibridge._connection.queue_arguments import arguments, inequivalent, is_adoptable
from rabibridge._operations.queue_states import state_of
from rabibridge_core._protocol.naming import service_of_queue
from rabibridge_core.errors import ConfigurationError
from rabibridge_core.operations.findings import Finding, Status
from rabibridge_core.operations.wording import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rabibridge._connection.session import Session
    from rabibridge_core.transport import ServiceQueue

__all__ = ["check_consumers", "check_dead_letters", "check_queue"]


async def check_queue(session: Session, queue: ServiceQueue, limit: float) -> Finding:
    """Compare a queue that exists with how its service would declare it.

    A queue that exists is declared once more, which changes nothing; one that does not is left to its workers.
    """
    state = await state_of(session, queue.name)
    if state is None:
        return Finding("queue", queue.name, Status.OK, "does not exist yet: its first worker declares it")
    try:
        with translated(f"the queue {queue.name!r} cannot be compared"):
            try:
                async with session.timeout(limit), session.temporary_channel() as channel:
                    await channel.queue_declare(queue.name, durable=True, arguments=arguments(queue))
            except amqp.ChannelPreconditionFailed as error:
                if not is_adoptable(queue, error):
                    return Finding(
                        "queue",
                        queue.name,
                        Status.FAILURE,
                        str(inequivalent(queue, error)),
                        "give the service the limits of the queue; or stop its workers, let it run empty, and delete "
                        f"it: rabibridge queue delete {queue.name}",
                    )
    except ConfigurationError as error:
        return Finding("queue", queue.name, Status.WARNING, f"could not be compared: {error}")
    return Finding("queue", queue.name, Status.OK, "has the limits of its service")


async def check_consumers(session: Session, queues: Sequence[str]) -> list[Finding]:
    """Find queues that no worker serves."""
    findings = list[Finding]()
    for name in queues:
        state = await state_of(session, name)
        if state is None:
            continue
        if state.consumers:
            text = f"{counted(state.consumers, 'consumer')}, {counted(state.waiting, 'call')} waiting"
            findings.append(Finding("consumers", name, Status.OK, text))
        else:
            findings.append(
                Finding(
                    "consumers",
                    name,
                    Status.WARNING,
                    f"no worker serves it, {counted(state.waiting, 'call')} waiting",
                    f"start a worker of {service_of_queue(name)!r} (rabibridge run); or, if the service is retired, "
                    f"rabibridge queue delete {name}",
                )
            )
    return findings


async def check_dead_letters(session: Session) -> Finding:
    """Tell how many dead letters there are."""
    name = session.names.dead_letters
    state = await state_of(session, name)
    if state is None or not state.waiting:
        return Finding("dead letters", name, Status.OK, "none")
    return Finding(
        "dead letters",
        name,
        Status.WARNING,
        counted(state.waiting, "dead letter"),
        "rabibridge dead list shows why; rabibridge dead requeue or purge",
    )
