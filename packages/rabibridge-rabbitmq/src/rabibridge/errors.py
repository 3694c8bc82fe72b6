"""The refusals of RabbitMQ, which are errors of RabiBridge and of aiormq at once."""

from __future__ import annotations

from typing import Any

from aiormq import exceptions as amqp
from pamqp import commands as spec

from rabibridge_core import errors

__all__ = ["NoRouteError", "QueueFullError"]


class QueueFullError(errors.QueueFullError, amqp.DeliveryError):
    """The broker did not confirm the request but refused it (``basic.nack``): the queue is full.

    It is also an ``aio_pika.exceptions.DeliveryError``, for code written against RabiBridge 0.1.
    """

    # In place of aiormq's slots, so that the error pickles by its own state alone.
    message: Any = None
    frame: Any = spec.Basic.Nack()


class NoRouteError(errors.NoRouteError, amqp.PublishError):
    """The broker returned the request: no queue is bound for it.

    It is also an ``aiormq.exceptions.PublishError``, for code written against RabiBridge 0.1.
    """

    message: Any = None
    frame: Any = spec.Basic.Return(reply_code=312, reply_text="NO_ROUTE", exchange="rpc", routing_key="")
